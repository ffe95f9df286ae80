"""Run the arms of a study, one process each: skip what is finished, go on with what is broken off, survive failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import yaml

from holdfast.study.grid import Arm, Study
from holdfast.study.machine import Machine
from holdfast.study.standing import ENDED, checkpoints, in_use, status_of, threads_of
from holdfast.train import run_folder

PAUSE = 0.2
"""Seconds between two looks at the running processes."""
USER_ERROR = 2
"""Exit code of a run whose folder is in use by another process, among other mistakes."""
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
class Running:
    """A process and what is needed to follow it."""

    arm: Arm
    slot: int
    process: subprocess.Popen[bytes]
    log: Path
    reader: IO[str]
    rest: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the whole lines that were printed since the last call."""
        self.rest += self.reader.read()
        *whole, self.rest = self.rest.split("\n")
        yield from (line.rstrip() for line in whole if line.strip())

    def kill(self) -> None:
        """End the process at once. What a run has saved is whole: a checkpoint appears in one rename."""
        self.process.kill()
        self.process.wait()
        self.reader.close()


@dataclass
class Runner:
    """Carries out a study. Make one, call `run` once.

    Attributes:
        study: What to run.
        folder: The study's own folder: ``study.yaml``, ``runs.json``, ``recipes/``, ``logs/``, the report.
        runs: The folder that studies share: one run folder per address.
        watch: Hears how it goes.
        jobs: Runs at a time.
        machine: Whose cores they share.
        command: The process of a run; `holdfast train` if not given.
    """

    study: Study
    folder: Path
    runs: Path
    watch: Watch
    jobs: int
    machine: Machine
    command: Command
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)

    def run(self) -> list[Outcome]:
        """Run every arm that is not finished and return all outcomes, in the study's order.

        An interrupt lets the running processes save and end; their arms are then ``interrupted``.

        Raises:
            RunFolderError: the study's folder is in use or cannot be written.
        """
        with run_folder.lock(self.folder), _terminated_as_interrupt():
            self._prepare()
            try:
                self._work()
            except KeyboardInterrupt:
                self._end_all()
            finally:
                for entry in self.running.values():  # only after an error of our own: leave no orphan behind
                    entry.kill()
                self._write_runs()
        return [self._outcome(arm) for arm in self.study.arms]

    def _work(self) -> None:
        once = {arm.address: arm for arm in self.study.arms}
        waiting = [arm for address, arm in once.items() if address not in self.outcomes]
        while waiting or self.running:
            for arm in list(waiting):
                if len(self.running) >= self.jobs:
                    break
                if not in_use(arm.folder(self.runs)):
                    waiting.remove(arm)
                    self._start(arm)
            for entry in list(self.running.values()):
                if self._follow(entry) and self.outcomes.get(entry.arm.address) is None:
                    waiting.append(entry.arm)  # another study took the folder just before: look again later
            time.sleep(PAUSE)

    def _start(self, arm: Arm) -> None:
        run = arm.folder(self.runs)
        status = status_of(run)
        if status in ENDED:  # finished by another study while this one waited
            self._end(Outcome(arm, status, skipped=True))
            return
        slot = min(set(range(self.jobs)) - {entry.slot for entry in self.running.values()})
        log = self.folder / "logs" / f"{arm.address}.log"
        with log.open("ab") as stream:
            at = stream.tell()
            process = subprocess.Popen(  # noqa: S603  (our own command line, no shell)
                list(self.command(self._recipe_file(arm), run)),
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.machine.environment(slot, jobs=self.jobs, threads=threads_of(run))},
                start_new_session=True,  # an interrupt of the terminal is for us; we pass it on once
            )
        reader = log.open(encoding="utf-8", errors="replace")
        reader.seek(at)
        self.running[arm.address] = Running(arm, slot, process, log, reader)
        self.watch.started(arm, going_on=bool(checkpoints(run)))

    def _follow(self, entry: Running) -> bool:
        """Pass on what a run printed; return whether it has ended."""
        code = entry.process.poll()
        for line in entry.lines():
            self.watch.heard(entry.arm, line)
        if code is None:
            return False
        entry.reader.close()
        del self.running[entry.arm.address]
        status = status_of(entry.arm.folder(self.runs))
        if code == 0 and status in ENDED:
            self._end(Outcome(entry.arm, status, log=entry.log))
        elif code in (130, -signal.SIGINT):
            self._end(Outcome(entry.arm, "interrupted", log=entry.log))
        elif not (code == USER_ERROR and in_use(entry.arm.folder(self.runs))):
            self._end(Outcome(entry.arm, "failed", words=_last_lines(entry.log, code), log=entry.log))
        return True

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.arm.address] = outcome
        self._write_runs()
        self.watch.ended(outcome)

    def _end_all(self) -> None:
        """Let the running processes save and end; a second interrupt kills them."""
        try:
            for entry in self.running.values():
                entry.process.send_signal(signal.SIGINT)
            while self.running:
                for entry in list(self.running.values()):
                    self._follow(entry)
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            for entry in list(self.running.values()):
                entry.kill()
                self._end(Outcome(entry.arm, "interrupted", log=entry.log))
            self.running.clear()

    def _prepare(self) -> None:
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
                self._end(Outcome(arm, status, skipped=True))
        self._write_runs()

    def _recipe_file(self, arm: Arm) -> Path:
        return self.folder / "recipes" / f"{arm.address}.yaml"

    def _outcome(self, arm: Arm) -> Outcome:
        found = self.outcomes.get(arm.address)
        return Outcome(arm, "waiting") if found is None else found

    def _write_runs(self) -> None:
        rows = [
            {
                "folder": os.path.relpath(arm.folder(self.runs), self.folder),
                "name": arm.name,
                "axes": dict(arm.labels),
                "seed": arm.seed,
                "status": self._outcome(arm).status,
            }
            for arm in self.study.arms
        ]
        _replace(self.folder / "runs.json", json.dumps(rows, indent=1))


def train_command(runs: Path, *, allow_code: bool) -> Command:
    """Return the process of a run: ``holdfast train`` with the shared scores of the base."""

    def words(recipe: Path, folder: Path) -> list[str]:
        own = [f"--output_dir={folder}", f"--base_cache={runs / BASE_CACHE}", *(["--allow-code"] if allow_code else [])]
        return [sys.executable, "-m", "holdfast.cli", "train", str(recipe), *own]

    return words


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as an interrupt, so that the processes of a study never outlive it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_lines(log: Path, code: int) -> str:
    """What a failed run said after its last step."""
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
