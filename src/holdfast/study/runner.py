"""Run the arms of a study on this machine: skip what is finished, go on with what is broken off, survive failures."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from holdfast.study.arms import Arm
from holdfast.study.ledger import Ledger, Outcome, Printed, last_lines
from holdfast.study.machine import Machine
from holdfast.study.processes import Group
from holdfast.study.standing import ENDED, checkpoints, in_use, status_of, threads_of
from holdfast.train import run_folder

PAUSE = 0.2
"""Seconds between two looks at the running processes."""
USER_ERROR = 2
"""Exit code of a run whose folder is in use by another process, among other mistakes."""


@dataclass
class Running:
    """A run's processes and what is needed to follow them."""

    arm: Arm
    slot: int
    group: Group
    printed: Printed


@dataclass
class Runner(Ledger):
    """Carries out a study. Make one, call `run` once.

    Attributes:
        jobs: Runs at a time.
        machine: Whose cores and accelerators they share.
    """

    jobs: int
    machine: Machine
    running: dict[str, Running] = field(default_factory=dict, kw_only=True)

    def run(self) -> list[Outcome]:
        """Run every arm that is not finished and return all outcomes, in the study's order.

        An interrupt lets the running processes save and end; their arms are then ``interrupted``.

        Raises:
            RunFolderError: the study's folder is in use or cannot be written.
        """
        with run_folder.lock(self.folder), _terminated_as_interrupt():
            self.prepare()
            try:
                self._work()
            except KeyboardInterrupt:
                self._end_all()
            finally:
                for entry in self.running.values():  # only after an error of our own: leave no orphan behind
                    entry.group.kill()
                self.write_runs()
        return self.all_outcomes()

    def _work(self) -> None:
        waiting = self.unfinished()
        while waiting or self.running:
            for arm in list(waiting):
                if len(self.running) >= self.jobs:
                    break
                if self._lost_start(arm):
                    waiting.remove(arm)
                    self.end(Outcome(arm, "failed", words=f"an arm that it needs failed: {arm.needs}"))
                elif self._has_start(arm) and not in_use(arm.folder(self.runs)):
                    waiting.remove(arm)
                    self._start(arm)
            for entry in list(self.running.values()):
                if self._follow(entry) and self.outcomes.get(entry.arm.address) is None:
                    waiting.append(entry.arm)  # another study took the folder just before: look again later
            time.sleep(PAUSE)

    def _has_start(self, arm: Arm) -> bool:
        """Whether the checkpoints of other arms that an arm needs are there."""
        return all(status_of(self.runs / need.address) in ENDED for need in arm.needs)

    def _lost_start(self, arm: Arm) -> bool:
        found = [self.outcomes.get(need.address) for need in arm.needs]
        return any(first is not None and first.status not in ENDED for first in found)

    def _start(self, arm: Arm) -> None:
        run = arm.folder(self.runs)
        status = status_of(run)
        if status in ENDED:  # finished by another study while this one waited
            self.end(Outcome(arm, status, skipped=True))
            return
        slot = min(set(range(self.jobs)) - {entry.slot for entry in self.running.values()})
        spread = self.study.spread
        environment = self.machine.environment(
            slot, jobs=self.jobs, processes=spread.processes, threads=threads_of(run)
        )
        with self.log(arm).open("ab") as stream:
            printed = Printed(self.log(arm))
            group = Group(self.words(arm), spread=spread, output=stream, environment=environment)
        self.running[arm.address] = Running(arm, slot, group, printed)
        self.watch.started(arm, going_on=bool(checkpoints(run)))

    def _follow(self, entry: Running, *, ending: bool = False) -> bool:
        """Pass on what a run printed; return whether it has ended."""
        code = entry.group.poll()
        for line in entry.printed.lines():
            self.watch.heard(entry.arm, line)
        if code is None:
            return False
        entry.printed.close()
        del self.running[entry.arm.address]
        arm, log = entry.arm, self.log(entry.arm)
        status = status_of(arm.folder(self.runs))
        if code == 0 and status in ENDED:
            self.end(Outcome(arm, status, log=log))
        elif code in (130, -signal.SIGINT) or (ending and status == "interrupted"):
            self.end(Outcome(arm, "interrupted", log=log))
        elif not (code == USER_ERROR and in_use(arm.folder(self.runs))):
            self.end(Outcome(arm, "failed", words=last_lines(log, code), log=log))
        return True

    def _end_all(self) -> None:
        """Let the running processes save and end; a second interrupt kills them."""
        try:
            for entry in self.running.values():
                entry.group.interrupt()
            while self.running:
                for entry in list(self.running.values()):
                    self._follow(entry, ending=True)
                time.sleep(PAUSE)
        except KeyboardInterrupt:
            for entry in list(self.running.values()):
                entry.group.kill()
                entry.printed.close()
                self.end(Outcome(entry.arm, "interrupted", log=self.log(entry.arm)))
            self.running.clear()


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as an interrupt, so that the processes of a study never outlive it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
