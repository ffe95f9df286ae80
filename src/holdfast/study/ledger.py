"""What a study keeps of its runs in its own folder, however they are carried out. Imports no torch."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import yaml

from holdfast.study.arms import Arm
from holdfast.study.grid import Study
from holdfast.study.standing import ENDED, status_of

LAST_LINES = 15
BASE_CACHE = ".base"
"""Folder beside the runs that holds the scores of untrained bases, which arms share."""

Command = Callable[[Path, Path], Sequence[str]]
"""From a recipe file and a run folder to the words of a process."""


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        arm: Which.
        status: ``finished``, ``stopped`` by its signal, ``interrupted``, ``failed``, or ``waiting`` (never started).
        skipped: Whether it was finished before.
        words: The last lines of the log of a failed run.
        log: Where the whole log lies.
    """

    arm: Arm
    status: str
    skipped: bool = False
    words: str = ""
    log: Path | None = None


class Watch(Protocol):
    """Hears how a study goes."""

    def started(self, arm: Arm, *, going_on: bool) -> None:
        """Hear that a run begins, or goes on."""

    def heard(self, arm: Arm, line: str) -> None:
        """Hear a line that a run printed."""

    def ended(self, outcome: Outcome) -> None:
        """Hear that a run ended."""


@dataclass
class Ledger:
    """A study's folder: ``study.yaml``, ``runs.json``, ``recipes/``, ``logs/``; and how each run stands.

    Attributes:
        study: What to run.
        folder: The study's own folder.
        runs: The folder that studies share: one run folder per address.
        watch: Hears how it goes.
        command: The process of a run (`train_command`).
    """

    study: Study
    folder: Path
    runs: Path
    watch: Watch
    command: Command
    outcomes: dict[str, Outcome] = field(default_factory=dict, kw_only=True)

    def all_outcomes(self) -> list[Outcome]:
        """Return how every arm stands, in the study's order."""
        return [self._outcome(arm) for arm in self.study.arms]

    def unfinished(self) -> list[Arm]:
        """Return the arms that have not ended, each address once."""
        once = {arm.address: arm for arm in self.study.arms}
        return [arm for address, arm in once.items() if address not in self.outcomes]

    def log(self, arm: Arm) -> Path:
        """Return where the processes of a run print."""
        return self.folder / "logs" / f"{arm.address}.log"

    def words(self, arm: Arm) -> tuple[str, ...]:
        """Return the command line of each process of a run."""
        return tuple(self.command(self._recipe_file(arm), arm.folder(self.runs)))

    def prepare(self) -> None:
        """Write the study down, and take down which runs ended before."""
        for name in ("logs", "recipes"):
            (self.folder / name).mkdir(exist_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True)
        _replace(
            self.folder / "study.yaml", yaml.safe_dump(dict(self.study.values), sort_keys=False, allow_unicode=True)
        )
        for arm in self.study.arms:
            values = {**arm.recipe.resolved(), "output_dir": None}
            _replace(self._recipe_file(arm), yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
            status = status_of(arm.folder(self.runs))
            if status in ENDED and arm.address not in self.outcomes:
                self.end(Outcome(arm, status, skipped=True))
        self.write_runs()

    def _recipe_file(self, arm: Arm) -> Path:
        return self.folder / "recipes" / f"{arm.address}.yaml"

    def _outcome(self, arm: Arm) -> Outcome:
        found = self.outcomes.get(arm.address)
        return Outcome(arm, "waiting") if found is None else found

    def write_runs(self) -> None:
        """Write ``runs.json``, from which reports are made."""
        rows = [
            {
                "folder": os.path.relpath(arm.folder(self.runs), self.folder),
                "name": arm.name,
                "axes": dict(arm.labels),
                "seed": arm.seed,
                "status": self._outcome(arm).status,
                **{
                    key: {"arm": need.arm, "step": need.step, "base": need.base}
                    for key, need in (("start", arm.start), ("toward", arm.toward))
                    if need is not None
                },
            }
            for arm in self.study.arms
        ]
        _replace(self.folder / "runs.json", json.dumps(rows, indent=1))

    def end(self, outcome: Outcome) -> None:
        """Take down how a run ended."""
        self.outcomes[outcome.arm.address] = outcome
        self.write_runs()
        self.watch.ended(outcome)


class Printed:
    """The lines that a run prints from now on, as they come.

    Args:
        log: Exists.
    """

    def __init__(self, log: Path) -> None:
        self._reader: IO[str] = log.open(encoding="utf-8", errors="replace")
        self._reader.seek(0, os.SEEK_END)
        self._rest = ""

    def lines(self) -> Iterator[str]:
        """Yield the whole lines that were printed since the last call."""
        self._rest += self._reader.read()
        *whole, self._rest = self._rest.split("\n")
        yield from (line.rstrip() for line in whole if line.strip())

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()


def train_command(runs: Path, *, allow_code: bool) -> Command:
    """Return the process of a run: ``holdfast train`` with the shared scores of the base."""

    def words(recipe: Path, folder: Path) -> list[str]:
        own = [f"--output_dir={folder}", f"--base_cache={runs / BASE_CACHE}", *(["--allow-code"] if allow_code else [])]
        return [sys.executable, "-m", "holdfast.cli", "train", str(recipe), *own]

    return words


def last_lines(log: Path, code: int) -> str:
    """Return what a failed run said after its last step, and the code with which it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    steps = [number for number, line in enumerate(lines) if line.startswith("step ")]
    lines = lines[steps[-1] + 1 :] if steps else lines
    ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return "\n".join([*lines[-LAST_LINES:], f"({ended})"])


def _replace(path: Path, text: str) -> None:
    """Write a file that others may be reading: it is the old one or the new one, never half."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
