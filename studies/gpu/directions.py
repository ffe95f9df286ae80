"""Directions against values on one GPU: pre-train a base, fine-tune it at four rates, heal the ends, leave records.

    python studies/gpu/directions.py                 # all of it; the same command goes on with what was broken off
    python studies/gpu/directions.py --minutes 9     # starts no further arm after nine minutes, leaves what is done
    python studies/gpu/directions.py --toy           # the same at toy size, in under a minute on a CPU
    python studies/gpu/directions.py --plan          # what it costs, without a model

Models and run folders lie in ``runs/`` where it is called; only the folder ``--output`` is worth keeping. The arms are
those of ``directions.yaml``; they run one after the other in this one process, since most take less time than Python
and CUDA take to start. README.md beside this file tells more.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import typer
import yaml

from holdfast.cli import app
from holdfast.cli.console import console, quiet_libraries, show
from holdfast.cli.progress import watched
from holdfast.cli.studying import Board
from holdfast.data.encode import encode_all
from holdfast.environments import MIXTURES
from holdfast.errors import UserError
from holdfast.members import build
from holdfast.recipe import override, read
from holdfast.report import load_runs, table, write_records
from holdfast.run import read_records, run
from holdfast.study import Arm, Study, load, train_command
from holdfast.study.ledger import BASE_CACHE, Ledger
from holdfast.study.plans import plans, plans_table
from holdfast.train.pretrain import make_model, make_tokenizer, pretrain, read_recipe
from holdfast.train.progress import Progress

HERE = Path(__file__).parent
STUDY = HERE / "directions.yaml"
PRETRAINING = HERE.parents[1] / "recipes" / "pretrain" / "gpu-directions.yaml"
RUNS = Path("runs")
TUNED, CHOOSING = "tuned", "eval_choosing_success"
TFLOPS = 100.0
"""TFLOP/s that ``--plan`` takes a GPU to sustain."""
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


@dataclass(frozen=True)
class Work:
    """What is done where.

    Attributes:
        toy: Whether at toy size.
        until: Reading of `time.monotonic` after which no arm is started.
        progress: Hears how it goes.
    """

    toy: bool
    until: float
    progress: Progress

    @property
    def base(self) -> Path:
        """The pre-trained model, where the study file looks for it."""
        return base_of("quick" if self.toy else "base")

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return RUNS / "studies" / ("directions-toy" if self.toy else "directions")


def base_of(block: str) -> Path:
    """Return the model that a block of the study file names."""
    return Path(read(STUDY)[block]["model_name_or_path"])


def main(words: Sequence[str] | None = None) -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--plan", action="store_true", help="print what it costs; train nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further arm after so many")
    parser.add_argument("--output", type=Path, help="folder for the records; runs/directions-records if not given")
    asked = parser.parse_args(words)
    quiet_libraries()
    if asked.plan:
        show_plan()
        return
    output = asked.output or RUNS / ("directions-records-toy" if asked.toy else "directions-records")
    again = " ".join(["python studies/gpu/directions.py", *(sys.argv[1:] if words is None else words)])
    with watched(again=again) as progress:
        work = Work(asked.toy, time.monotonic() + 60 * asked.minutes, progress)
        work.folder.mkdir(parents=True, exist_ok=True)
        make_base(work)
        study = carry_out(work)
    export(study, work, output)
    for rate in rates_of(study):
        diagnose(study, rate, work, output / "bands" / rate.removeprefix("lr "))


def make_base(work: Work) -> None:
    """Pre-train the base, unless it is there."""
    if (work.base / "config.json").exists():
        return
    recipe = PRETRAINING
    if work.toy:
        recipe = work.folder / "pretraining.yaml"
        small = override(read(PRETRAINING), TOY, source=str(PRETRAINING))
        recipe.write_text(yaml.safe_dump(small, sort_keys=False), encoding="utf-8")
    began = time.monotonic()
    pretrain(recipe, work.base, progress=work.progress)
    work.progress.said(f"pre-trained in {time.monotonic() - began:.0f} s")


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
    file = work.folder / STUDY.name
    file.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
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


def ran(arm: Arm, work: Work) -> bool:
    """Run an arm unless the time is up, and return whether it has ended; one that ended before is left as it is."""
    if time.monotonic() > work.until and not (arm.folder(RUNS) / "result.json").exists():
        return False
    work.progress.said(f"[{arm.name}]")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # each result tells the peak of its own run
    result = run(arm.recipe, folder=arm.folder(RUNS), progress=work.progress, base_cache=RUNS / BASE_CACHE)
    gc.collect()
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return True


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


def export(study: Study, work: Work, output: Path) -> None:
    """Write compact records of all arms that have ended, and print their results."""
    command = train_command(RUNS, allow_code=False)
    Ledger(study, work.folder, RUNS, Board(len(study.arms), write=lambda _: None), command).prepare()
    runs = load_runs(work.folder)
    ended = [one for one in runs if one.status in ("finished", "stopped")]
    if ended:
        show(console(), table(ended))
        write_records(ended, output)
        shutil.copy2(work.base / "pretraining.yaml", output)
    typer.echo(f"{len(ended)} of {len(runs)} arms have ended; records: {output}")


def diagnose(study: Study, rate: str, work: Work, output: Path) -> None:
    """Write by how much each band of the base's singular directions turned in fine-tuning at a rate."""
    tuned = end_of(study, rate)
    end = tuned.folder(RUNS) / f"checkpoint-{steps_of(tuned)}"
    if end.is_dir():
        words = ["--bands", "--cache", str(RUNS / BASE_CACHE), "--output", str(output)]
        app(["diagnose", str(work.base), str(end), *words], standalone_mode=False)


def show_plan() -> None:
    """Print what pre-training and each arm cost, from a folder with a configuration and a tokenizer alone."""
    recipe = read_recipe(PRETRAINING)
    tokenizer = make_tokenizer(recipe)
    with torch.device("meta"):
        model = make_model(recipe, tokenizer)
    mixture = build("mixture", recipe.mixture, MIXTURES)
    rows = [mixture.example(row, step=step, seed=recipe.seed) for step in range(12) for row in range(recipe.batch_size)]
    tokens = sum(len(row.input_ids) for row in encode_all(rows, tokenizer)) / len(rows)
    weights, rows_seen = sum(weight.numel() for weight in model.parameters()), recipe.steps * recipe.batch_size
    flops = 6 * weights * rows_seen * tokens
    typer.echo(
        f"pre-training: {weights / 1e6:.1f} M weights, {rows_seen:,} rows of {tokens:.1f} tokens; "
        f"6·N·D = {flops:.2g} FLOPs, {flops / (TFLOPS * 1e12):.0f} s at {TFLOPS:g} TFLOP/s"
    )
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for part in (model.config, tokenizer):
            part.save_pretrained(base_of("base"))
        study = load(STUDY)
        tuned = tuple(end_of(study, rate) for rate in rates_of(study))
        show(console(), plans_table(list(plans(replace(study, arms=tuned))), tflops=TFLOPS))
    typer.echo(f"{len(study.arms) - len(tuned)} further arms heal and are measured; they train nothing")


if __name__ == "__main__":
    try:
        main()
    except typer.Exit as left:  # interrupted, and said so
        sys.exit(left.exit_code)
    except UserError as fault:
        typer.echo(str(fault), err=True)
        sys.exit(2)
