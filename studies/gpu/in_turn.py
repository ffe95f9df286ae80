"""A study in one process: bases first, then one arm after the other until the time is up, and compact records of it.

The scripts beside this file share it. Most arms take less time than Python and CUDA take to start, so nothing runs side
by side; models and run folders lie in ``runs/`` where a script is called. Whatever has ended is left as it is, so the
same command goes on with what was broken off.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
import yaml

from holdfast.cli.console import console, quiet_libraries, show
from holdfast.cli.progress import watched
from holdfast.cli.studying import Board
from holdfast.data.encode import encode_all
from holdfast.environments import MIXTURES
from holdfast.errors import UserError
from holdfast.members import build
from holdfast.recipe import Recipe, override, read
from holdfast.report import load_runs, table, write_records
from holdfast.run import run
from holdfast.study import Arm, Study, train_command
from holdfast.study.ledger import BASE_CACHE, Ledger
from holdfast.train.pretrain import make_model, make_tokenizer, pretrain, read_recipe
from holdfast.train.progress import Progress

RUNS = Path("runs")
TFLOPS = 100.0
"""TFLOP/s that ``--plan`` takes a GPU to sustain."""


class Asked(NamedTuple):
    """What the command line asks.

    Attributes:
        toy: For toy size.
        plan: For what it costs, and nothing else.
        minutes: After which no further arm is started.
        output: The folder for the records.
        again: The command that goes on.
    """

    toy: bool
    plan: bool
    minutes: float
    output: Path
    again: str


@dataclass(frozen=True)
class Work:
    """What is done where.

    Attributes:
        name: Of the study.
        toy: Whether at toy size.
        until: Reading of `time.monotonic` after which no arm is started.
        progress: Hears how it goes.
    """

    name: str
    toy: bool
    until: float
    progress: Progress

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return RUNS / "studies" / (f"{self.name}-toy" if self.toy else self.name)


@dataclass(frozen=True)
class Base:
    """A model that is pre-trained before the arms run.

    Attributes:
        folder: Where it will be.
        recipe: The file of its pre-training.
        changes: What is another than in the file, as ``key=value``.
    """

    folder: Path
    recipe: Path
    changes: tuple[str, ...] = ()

    def file(self, aside: Path) -> Path:
        """Return its recipe's file: one in the folder ``aside`` if anything was changed."""
        if not self.changes:
            return self.recipe
        values = override(read(self.recipe), self.changes, source=str(self.recipe))
        return written(values, aside / f"pretraining-{self.folder.name}.yaml")


def asked(name: str, words: Sequence[str] | None, *, about: str) -> Asked:
    """Return what the words of a script's command line ask; None: those of this process."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="toy size, for a CPU")
    parser.add_argument("--plan", action="store_true", help="print what it costs; train nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further arm after so many")
    parser.add_argument("--output", type=Path, help=f"folder for the records; runs/{name}-records if not given")
    found = parser.parse_args(words)
    output = found.output or RUNS / (f"{name}-records-toy" if found.toy else f"{name}-records")
    again = shlex.join(["python", f"studies/gpu/{name}.py", *(sys.argv[1:] if words is None else words)])
    return Asked(found.toy, found.plan, found.minutes, output, again)


@contextlib.contextmanager
def working(name: str, what: Asked) -> Iterator[Work]:
    """Yield the work that is asked for; an interrupt inside says how to go on."""
    with watched(again=what.again) as progress:
        work = Work(name, what.toy, time.monotonic() + 60 * what.minutes, progress)
        work.folder.mkdir(parents=True, exist_ok=True)
        yield work


def make_base(base: Base, work: Work) -> None:
    """Pre-train a base, unless it is there."""
    if (base.folder / "config.json").exists():
        return
    began = time.monotonic()
    pretrain(base.file(work.folder), base.folder, progress=work.progress)
    work.progress.said(f"pre-trained in {time.monotonic() - began:.0f} s")


def written(values: Mapping[str, Any], file: Path) -> Path:
    """Write values into a file and return it."""
    file.write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def ran(arm: Arm, work: Work) -> bool:
    """Run an arm unless the time is up, and return whether it has ended; one that ended before is left as it is."""
    if time.monotonic() > work.until and not (arm.folder(RUNS) / "result.json").exists():
        return False
    train(arm.recipe, arm.folder(RUNS), work, name=arm.name)
    return True


def train(recipe: Recipe, folder: Path, work: Work, *, name: str) -> None:
    """Carry out a recipe, or the rest of it.

    Raises:
        KeyboardInterrupt: the user interrupted; a checkpoint was saved.
    """
    work.progress.said(f"[{name}]")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # each result tells the peak of its own run
    result = run(recipe, folder=folder, progress=work.progress, base_cache=RUNS / BASE_CACHE)
    gc.collect()
    if result.status == "interrupted":
        raise KeyboardInterrupt


def export(study: Study, work: Work, output: Path, *, pretrained: Mapping[str, Base]) -> None:
    """Write compact records of all arms that have ended, and print their results.

    Args:
        study: The arms.
        work: Where they ran.
        output: Folder for the records.
        pretrained: Bases whose pre-training recipes are kept beside the records, by the names of the files.
    """
    command = train_command(RUNS, allow_code=False)
    Ledger(study, work.folder, RUNS, Board(len(study.arms), write=lambda _: None), command).prepare()
    runs = load_runs(work.folder)
    ended = [one for one in runs if one.status in ("finished", "stopped")]
    if ended:
        show(console(), table(ended))
        write_records(ended, output)
        for name, base in pretrained.items():
            shutil.copy2(base.folder / "pretraining.yaml", output / name)
    typer.echo(f"{len(ended)} of {len(runs)} arms have ended; records: {output}")


@contextlib.contextmanager
def planned(bases: Sequence[Base]) -> Iterator[None]:
    """Print what pre-training each base costs; inside, each is a folder with a configuration and a tokenizer alone."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for base in bases:
            of = f" of {base.folder.name}" if len(bases) > 1 else ""
            typer.echo(f"pre-training{of}: {_cost(base)}")
        yield


def _cost(base: Base) -> str:
    recipe = read_recipe(base.file(Path()))
    tokenizer = make_tokenizer(recipe)
    with torch.device("meta"):
        model = make_model(recipe, tokenizer)
    for part in (model.config, tokenizer):
        part.save_pretrained(base.folder)
    mixture = build("mixture", recipe.mixture, MIXTURES)
    rows = [mixture.example(row, step=step, seed=recipe.seed) for step in range(12) for row in range(recipe.batch_size)]
    tokens = sum(len(row.input_ids) for row in encode_all(rows, tokenizer)) / len(rows)
    weights, rows_seen = sum(weight.numel() for weight in model.parameters()), recipe.steps * recipe.batch_size
    flops = 6 * weights * rows_seen * tokens
    return (
        f"{weights / 1e6:.1f} M weights, {rows_seen:,} rows of {tokens:.1f} tokens; "
        f"6·N·D = {flops:.2g} FLOPs, {flops / (TFLOPS * 1e12):.0f} s at {TFLOPS:g} TFLOP/s"
    )


def script(main: Callable[[], None]) -> None:
    """Call ``main`` as this process: libraries quiet, faults of a user without a traceback."""
    quiet_libraries()
    try:
        main()
    except typer.Exit as left:  # interrupted, and said so
        sys.exit(left.exit_code)
    except UserError as fault:
        typer.echo(str(fault), err=True)
        sys.exit(2)
