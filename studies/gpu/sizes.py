"""The ladder of sizes on one GPU: pre-train four bases, fine-tune each with every probe, leave records.

    python studies/gpu/sizes.py                 # all of it; the same command goes on with what was broken off
    python studies/gpu/sizes.py --minutes 55    # starts no further arm after 55 minutes, leaves what is done
    python studies/gpu/sizes.py --toy           # two rungs at toy size, in half a minute on a CPU
    python studies/gpu/sizes.py --plan          # what it costs, without a model

Models and run folders lie in ``runs/`` where it is called; only the folder ``--output`` is worth keeping. The arms are
those of ``sizes.yaml``, seed by seed, so that what has ended by a certain time is a whole ladder of fewer seeds. The
first three bases are those of ``studies/early_stopping/stop_sizes.yaml``; README.md beside this file tells more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from in_turn import RUNS, Base, Work, asked, export, make_base, planned, ran, script, train, working

from holdfast.cli.console import console, show
from holdfast.plan import check
from holdfast.recipe import override, read
from holdfast.report.words import power_of_ten
from holdfast.study import load
from holdfast.study.plans import plans, plans_table

HERE = Path(__file__).parent
STUDY = HERE / "sizes.yaml"
RECIPES = HERE.parents[1] / "recipes"
TUNING = RECIPES / "early_stopping" / "points.yaml"
WIDEST = (
    "architecture.hidden_size=768",
    "architecture.intermediate_size=2064",
    "architecture.num_attention_heads=12",
    "architecture.num_key_value_heads=12",
    "learning_rate=5.0e-4",
)
"""What makes the rung of 40 million weights of that of 10: twice the width, half the rate."""
LADDER = (
    Base(RUNS / "size-0.3m", RECIPES / "pretrain" / "size-0.3m.yaml"),
    Base(RUNS / "size-2m", RECIPES / "pretrain" / "size-2m.yaml"),
    Base(RUNS / "size-10m", RECIPES / "pretrain" / "size-10m.yaml"),
    Base(RUNS / "size-40m", RECIPES / "pretrain" / "size-10m.yaml", WIDEST),
)
OTHER_FAMILY = Base(RUNS / "size-2m-neox", RECIPES / "pretrain" / "pocket-neox.yaml", ("steps=800",))
"""What the reference is tuned from: as many rows as the ladder, another draw of them."""
REFERENCE = (
    "data.size=4000",
    "data.seed=1",
    "learning_rate=2.0e-4",
    "budget.steps=160",
    "probes={}",
    "evaluate_at=end",
)
"""What the reference does otherwise than the arms; as at the head of ``studies/early_stopping/stop_points.yaml``."""
TOY = ("architecture.num_hidden_layers=2", "steps=2", "batch_size=8", "micro_batches=1", "warmup_steps=1")
"""What ``--toy`` changes in every pre-training recipe, beside the width."""
NARROWER = 8
"""By how much the models of the toy are narrower."""
TOY_REFERENCE = ("budget.steps=2", "suites={}")


def main(words: Sequence[str] | None = None) -> None:
    """Do what the command line asks."""
    what = asked("sizes", words, about=__doc__ or "")
    if what.plan:
        show_plan()
        return
    bases = [small(base) for base in (*LADDER, OTHER_FAMILY)] if what.toy else [*LADDER, OTHER_FAMILY]
    with working("sizes", what) as work:
        for base in bases:
            make_base(base, work)
        make_reference(bases[-1], work)
        study = load(STUDY, quick=work.toy, runs=RUNS)  # not before: the address of an arm is made of its base's files
        for arm in sorted(study.arms, key=lambda one: one.seed):
            if not ran(arm, work):
                break
    export(study, work, what.output, pretrained={f"{base.folder.name}.yaml": base for base in bases})


def small(base: Base) -> Base:
    """Return the toy of a base."""
    architecture = override(read(base.recipe), base.changes, source=str(base.recipe))["architecture"]
    narrow = {key: architecture[key] // NARROWER for key in ("hidden_size", "intermediate_size")}
    heads = {key: 2 for key in architecture if key.endswith("_heads")}
    changed = [f"architecture.{key}={value}" for key, value in (narrow | heads).items()]
    return Base(base.folder.with_name(f"{base.folder.name}-toy"), base.recipe, (*base.changes, *TOY, *changed))


def make_reference(base: Base, work: Work) -> None:
    """Tune the model that says what generalizes, unless it was."""
    changes = (f"model_name_or_path={base.folder}", *REFERENCE, *(TOY_REFERENCE if work.toy else ()))
    recipe = check(override(read(TUNING), changes, source=str(TUNING)), source=str(TUNING))
    train(recipe, RUNS / ("sizes-reference-toy" if work.toy else "sizes-reference"), work, name="reference")


def show_plan() -> None:
    """Print what pre-training, each arm and its probes cost, without a model."""
    with planned((*LADDER, OTHER_FAMILY)):
        study = load(STUDY)
        found = list(plans(study))
        show(console(), plans_table(found))
    for arm in found:
        moments, probes = len(arm.plan.moments), arm.plan.probes
        share = probes["interactions"] / sum(probes.values())
        whole = power_of_ten(moments * sum(probes.values()))
        typer.echo(
            f"{arm.name}: probes at most {whole} FLOPs at {moments} moments, {100 * share:.0f} % of it interactions"
        )


if __name__ == "__main__":
    script(main)
