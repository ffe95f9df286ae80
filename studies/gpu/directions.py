"""Directions against values on one GPU: pre-train a base, fine-tune it at four rates, heal the ends, leave records.

    python studies/gpu/directions.py                 # all of it; the same command goes on with what was broken off
    python studies/gpu/directions.py --minutes 9     # starts no further arm after nine minutes, leaves what is done
    python studies/gpu/directions.py --toy           # the same at toy size, in under a minute on a CPU
    python studies/gpu/directions.py --plan          # what it costs, without a model

Models and run folders lie in ``runs/`` where it is called; only the folder ``--output`` is worth keeping. The arms are
those of ``directions.yaml``; they run one after the other in this one process. README.md beside this file tells more.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from in_turn import RUNS, TFLOPS, Base, Work, asked, export, make_base, planned, ran, script, working, written

from holdfast.cli import app
from holdfast.cli.console import console, show
from holdfast.recipe import read
from holdfast.run import read_records
from holdfast.study import Arm, Study, load
from holdfast.study.ledger import BASE_CACHE
from holdfast.study.plans import plans, plans_table

HERE = Path(__file__).parent
STUDY = HERE / "directions.yaml"
PRETRAINING = HERE.parents[1] / "recipes" / "pretrain" / "gpu-directions.yaml"
TUNED, CHOOSING = "tuned", "eval_choosing_success"
TOY = (
    "architecture={model_type: llama, hidden_size: 32, intermediate_size: 88, num_hidden_layers: 4, "
    "num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 512, tie_word_embeddings: false}",
    "steps=4",
    "batch_size=8",
    "micro_batches=1",
    "warmup_steps=1",
    "save_steps=0",
)
"""What ``--toy`` changes in the pre-training recipe; the study file's ``quick`` block says the rest."""


def main(words: Sequence[str] | None = None) -> None:
    """Do what the command line asks."""
    what = asked("directions", words, about=__doc__ or "")
    if what.plan:
        show_plan()
        return
    base = base_of("quick", TOY) if what.toy else base_of("base")
    with working("directions", what) as work:
        make_base(base, work)
        study = carry_out(work)
    export(study, work, what.output, pretrained={"pretraining.yaml": base})
    for rate in rates_of(study):
        diagnose(study, rate, base, what.output / "bands" / rate.removeprefix("lr "))


def base_of(block: str, changes: tuple[str, ...] = ()) -> Base:
    """Return the model that a block of the study file names."""
    return Base(Path(read(STUDY)[block]["model_name_or_path"]), PRETRAINING, changes)


def carry_out(work: Work) -> Study:
    """Run the arms of one rate after another and return the study with the OOD peaks that it chose."""
    values = read(STUDY)
    study = loaded(values, work)
    for rate in rates_of(study):
        tuned = end_of(study, rate)
        if not ran(tuned, work):
            break
        peak = peak_of(tuned)
        work.progress.said(f"{tuned.name}: the OOD peak is step {peak}")
        set_peak(values, rate, peak, toy=work.toy)
        study = loaded(values, work)
        healed = [arm for arm in study.arms if arm.labels["rate"] == rate and arm.labels["arm"] != TUNED]
        for arm in healed:
            if not ran(arm, work):
                break
            discard_weights(arm, keep=())
        else:
            discard_weights(tuned, keep=(peak, steps_of(tuned)))
    return study


def loaded(values: dict[str, Any], work: Work) -> Study:
    """Return the study of these values, from a file that is kept beside its records."""
    file = written(values, work.folder / STUDY.name)
    return load(file, quick=work.toy, runs=RUNS)


def rates_of(study: Study) -> list[str]:
    """Return the points of the axis ``rate``, in the study's order."""
    return list(dict.fromkeys(arm.labels["rate"] for arm in study.arms))


def end_of(study: Study, rate: str) -> Arm:
    """Return the arm that fine-tunes at a rate."""
    return next(arm for arm in study.arms if arm.labels == {"rate": rate, "arm": TUNED})


def steps_of(arm: Arm) -> int:
    """Return the steps that an arm trains for."""
    assert arm.recipe.budget.steps is not None
    return arm.recipe.budget.steps


def peak_of(tuned: Arm) -> int:
    """Return the step of the kept checkpoint, before the last, at which the suite ``choosing`` was answered best.

    Of equals the first. The last is no candidate: healed towards itself a model stays what it is.
    """
    every, last = tuned.recipe.save_steps, steps_of(tuned)
    found = {
        record.step: record.readings[CHOOSING] or 0.0
        for record in read_records(tuned.folder(RUNS))
        if 0 < record.step < last and record.step % every == 0
    }
    return max(found, key=lambda step: found[step])


def set_peak(values: dict[str, Any], rate: str, step: int, *, toy: bool) -> None:
    """Write down towards which checkpoint the arms of a rate are healed."""
    point = values["axes"]["rate"][rate]
    if toy:
        point["quick"]["heal.toward.step"] = step
    else:
        point["heal"]["toward"]["step"] = step


def discard_weights(arm: Arm, *, keep: Sequence[int]) -> None:
    """Remove the checkpoints of an arm that has ended; what it measured stays."""
    for folder in arm.folder(RUNS).glob("checkpoint-*"):
        if folder.name not in {f"checkpoint-{step}" for step in keep}:
            shutil.rmtree(folder)


def diagnose(study: Study, rate: str, base: Base, output: Path) -> None:
    """Write by how much each band of the base's singular directions turned in fine-tuning at a rate."""
    tuned = end_of(study, rate)
    end = tuned.folder(RUNS) / f"checkpoint-{steps_of(tuned)}"
    if end.is_dir():
        words = ["--bands", "--cache", str(RUNS / BASE_CACHE), "--output", str(output)]
        app(["diagnose", str(base.folder), str(end), *words], standalone_mode=False)


def show_plan() -> None:
    """Print what pre-training and each arm cost, without a model."""
    with planned([base_of("base")]):
        study = load(STUDY)
        tuned = tuple(end_of(study, rate) for rate in rates_of(study))
        show(console(), plans_table(list(plans(replace(study, arms=tuned))), tflops=TFLOPS))
    typer.echo(f"{len(study.arms) - len(tuned)} further arms heal and are measured; they train nothing")


if __name__ == "__main__":
    script(main)
