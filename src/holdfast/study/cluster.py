"""Run the arms of a study as jobs of a cluster, through submitit: an array with one job for each unfinished run.

A job starts the very processes that the runner of one machine would start, in a folder that all machines see. The study
follows its jobs; a study that is interrupted leaves them running, and finds them again when it is started again.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.errors import UserError
from holdfast.study.arms import Arm
from holdfast.study.ledger import Ledger, Outcome, Printed, last_lines
from holdfast.study.machine import Machine
from holdfast.study.processes import Group, Spread
from holdfast.study.standing import ENDED, checkpoints, in_use, status_of, threads_of
from holdfast.train import run_folder

PAUSES = {"slurm": 5.0, "local": 0.2}
"""Seconds between two looks at the jobs of each kind of cluster: ``local`` starts them all on this machine."""
OF_ANY_CLUSTER = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "stderr_to_stdout")
"""Options that submitit knows by one name; others get the name of the cluster in front (``slurm_partition``)."""


@dataclass(frozen=True)
class Cluster:
    """Where jobs are sent.

    Attributes:
        kind: A key of ``PAUSES``.
        options: Of submitit (``timeout_min``, ``gpus_per_node``, …) and of the cluster (``partition``, ``account``, …).
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in PAUSES:
            raise UserError(f"no such cluster: {self.kind!r}. Known: {', '.join(PAUSES)}")


class Task(NamedTuple):
    """One run as a job carries it out."""

    words: tuple[str, ...]
    log: str
    run: str
    spread: Spread


class CarryOut:
    """What a job does: it starts the processes of a run and waits for them. Asked to make room, it comes back later."""

    def __init__(self) -> None:
        self._group: Group | None = None

    def __call__(self, task: Task) -> int:
        """Return the exit code of the run."""
        machine = Machine.here()
        environment = machine.environment(
            0, jobs=1, processes=task.spread.processes, threads=threads_of(Path(task.run))
        )
        with Path(task.log).open("ab") as stream:
            self._group = Group(task.words, spread=task.spread, output=stream, environment=environment)
            return self._group.wait(pause=1.0)

    def checkpoint(self, task: Task) -> Any:
        """Let the run save and end, since the cluster wants its machine back; return the job that is to go on."""
        from submitit.helpers import DelayedSubmission

        if self._group is not None:
            self._group.interrupt()
            self._group.wait(pause=1.0)
        return DelayedSubmission(CarryOut(), task)


@dataclass
class Job:
    """A run that was sent, and how it is followed."""

    arm: Arm
    handle: Any
    printed: Printed
    speaks: bool = False


@dataclass
class ClusterRunner(Ledger):
    """Carries out a study on a cluster. Make one, call `run` once.

    Attributes:
        cluster: Where to.
    """

    cluster: Cluster

    def run(self) -> list[Outcome]:
        """Send every run that is not finished, follow all, and return all outcomes, in the study's order.

        An interrupt leaves the jobs alone; their arms are ``submitted``.

        Raises:
            UserError: submitit is missing, there is no such cluster here, it refuses an option, or arms start from
                others.
            RunFolderError: the study's folder is in use or cannot be written.
        """
        if any(arm.needs for arm in self.study.arms):
            raise UserError(
                "arms that start from others' checkpoints cannot be sent to a cluster yet: leave --cluster out"
            )
        with run_folder.lock(self.folder):
            self.prepare()
            jobs: list[Job] = []
            try:
                jobs = self._sent()
                while jobs:
                    jobs = [job for job in jobs if not self._follow(job)]
                    time.sleep(PAUSES[self.cluster.kind])
            except KeyboardInterrupt:
                for job in jobs:
                    self.end(Outcome(job.arm, "submitted", log=self.log(job.arm)))
            self.write_runs()
        return self.all_outcomes()

    def _sent(self) -> list[Job]:
        """Return the jobs of all unfinished runs: those that are still under way, and the rest as one new array."""
        executor = self._executor()
        handles = {arm.address: self._handle(arm) for arm in self.unfinished()}
        new = [arm for arm in self.unfinished() if handles[arm.address] is None and self._is_free(arm)]
        for arm in self.unfinished():
            self.log(arm).touch()
        tasks = [
            Task(
                self.words(arm), str(self.log(arm).absolute()), str(arm.folder(self.runs).absolute()), self.study.spread
            )
            for arm in new
        ]
        printed = {arm.address: Printed(self.log(arm)) for arm in self.unfinished()}
        sent = executor.map_array(CarryOut(), tasks) if tasks else []
        handles |= {arm.address: handle for arm, handle in zip(new, sent, strict=True)}
        jobs = {address: handle.job_id for address, handle in handles.items() if handle is not None}
        (self.folder / "cluster.json").write_text(json.dumps({"kind": self.cluster.kind, "jobs": jobs}))
        return [Job(arm, handles[arm.address], printed[arm.address]) for arm in self.unfinished()]

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError as fault:
            raise UserError("--cluster needs submitit: pip install 'holdfast[cluster]'") from fault
        options = {
            "name": f"holdfast-{self.folder.name}",
            **({"nodes": 1, "tasks_per_node": 1} if self.cluster.kind == "slurm" else {}),
            **{
                name if name in OF_ANY_CLUSTER else f"{self.cluster.kind}_{name}": value
                for name, value in self.cluster.options.items()
            },
        }
        try:
            executor = submitit.AutoExecutor(folder=self.folder / "jobs", cluster=self.cluster.kind)
            executor.update_parameters(**options)
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as fault:
            raise UserError(f"--cluster {self.cluster.kind}: {fault}") from fault
        return executor

    def _handle(self, arm: Arm) -> Any | None:
        """Return the job of an earlier start of this study that still has the run in hand; None without one."""
        path = self.folder / "cluster.json"
        if self.cluster.kind != "slurm" or not path.is_file():
            return None
        from submitit import SlurmJob

        number = json.loads(path.read_text(encoding="utf-8"))["jobs"].get(arm.address)
        if number is None:
            return None
        job: Any = SlurmJob(folder=self.folder / "jobs", job_id=number)
        return None if job.done(force_check=True) else job

    def _is_free(self, arm: Arm) -> bool:
        return not in_use(arm.folder(self.runs))

    def _follow(self, job: Job) -> bool:
        """Pass on what a run printed; return whether its job has ended."""
        arm = job.arm
        done = self._is_free(arm) if job.handle is None else job.handle.done()
        for line in job.printed.lines():
            if not job.speaks:
                job.speaks = True
                self.watch.started(arm, going_on=bool(checkpoints(arm.folder(self.runs))))
            self.watch.heard(arm, line)
        if not done:
            return False
        job.printed.close()
        status = status_of(arm.folder(self.runs))
        fault = None if job.handle is None else job.handle.exception()
        code = 1 if job.handle is None or fault is not None else int(job.handle.result())
        if status in ENDED:
            self.end(Outcome(arm, status, log=self.log(arm)))
        elif code in (130, -signal.SIGINT):
            self.end(Outcome(arm, "interrupted", log=self.log(arm)))
        else:
            words = last_lines(self.log(arm), code) + (f"\n{str(fault)[-1000:]}" if fault else "")
            self.end(Outcome(arm, "failed", words=words, log=self.log(arm)))
        return True
