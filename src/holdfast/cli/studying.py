"""A study with everything a terminal shows of it: its runs side by side, failures, the result table, the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import typer
import yaml
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from holdfast.cli.console import console, show
from holdfast.errors import UserError
from holdfast.report import load_runs, table, write
from holdfast.study import (
    Arm,
    Cluster,
    ClusterRunner,
    Machine,
    Outcome,
    Runner,
    Study,
    Watch,
    train_command,
    weight_bytes,
)

Jobs = int | Literal["auto"]


def jobs_of(flag: str | None, asked: Jobs) -> Jobs:
    """Return the number of runs at a time: the flag's, else the study file's.

    Raises:
        UserError: the flag is neither a number from 1 on nor ``auto``.
    """
    if flag is None:
        return asked
    if flag == "auto":
        return "auto"
    if flag.isdigit() and int(flag) > 0:
        return int(flag)
    raise UserError(f"--jobs {flag}: write a number from 1 on, or auto")


def cluster_of(kind: str | None, options: Sequence[str]) -> Cluster | None:
    """Return where jobs are sent; ``options`` are ``cluster.key=value``.

    Raises:
        UserError: there is no such cluster, or there are options of none.
    """
    if kind is None:
        if options:
            raise UserError(f"--{options[0].partition('=')[0]} needs --cluster slurm (or local)")
        return None
    pairs = (option.removeprefix("cluster.").partition("=") for option in options)
    return Cluster(kind, {key: yaml.safe_load(value) for key, _, value in pairs})


@dataclass
class Board:
    """Shows a study: the last line of every running run, and a line for each that ends.

    Attributes:
        total: Runs of the study.
        live: A live table on a terminal; None elsewhere, where moments of runs become plain lines.
        write: Prints a line.
    """

    total: int
    live: Live | None = None
    write: Callable[[str], None] = typer.echo
    clock: Callable[[], float] = time.monotonic
    last: dict[str, tuple[str, str]] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    done: int = 0

    def started(self, arm: Arm, *, going_on: bool) -> None:
        """Say that a run begins."""
        self.began[arm.address] = self.clock()
        self.last[arm.address] = (title(arm), "goes on" if going_on else "starts")
        if self.live is None:
            self.write(f"[{title(arm)}] {'goes on' if going_on else 'starts'} ({arm.address})")
        self._draw()

    def heard(self, arm: Arm, line: str) -> None:
        """Show what a run printed last; elsewhere than on a terminal only its steps."""
        self.last[arm.address] = (title(arm), line)
        if self.live is None and line.startswith("step "):
            self.write(f"[{title(arm)}] {line}")
        self._draw()

    def ended(self, outcome: Outcome) -> None:
        """Say how a run ended."""
        self.done += 1
        arm = outcome.arm
        self.last.pop(arm.address, None)
        took = "" if arm.address not in self.began else f" in {self.clock() - self.began[arm.address]:.0f} s"
        how = f"{outcome.status} before" if outcome.skipped else f"{outcome.status}{took}"
        self.write(f"[{title(arm)}] {how} ({self.done} of {self.total})")
        self._draw()

    def _draw(self) -> None:
        if self.live is not None:
            drawn = Table(box=None, show_header=False, pad_edge=False)
            for name, line in self.last.values():
                drawn.add_row(escape(name), escape(line))
            self.live.update(drawn)


def title(arm: Arm) -> str:
    """Return an arm with its seed: ``attention seed 0``."""
    return f"{arm.name} seed {arm.seed}"


def study_and_show(
    study: Study, *, folder: Path, runs: Path, jobs: Jobs, cluster: Cluster | None, allow_code: bool, again: str
) -> None:
    """Carry out a study, then print its results, its failures and the report's path.

    Args:
        study: Checked.
        folder, runs: The study's own folder, and the one that studies share.
        jobs: Runs at a time on this machine.
        cluster: Where jobs are sent; None runs them here.
        allow_code: Whether recipes may name outside code.
        again: The command that goes on with a study that is broken off.

    Raises:
        typer.Exit: 1 if a run failed, 130 if the study was interrupted.
    """
    command = train_command(runs, allow_code=allow_code)
    machine = Machine.here()
    at_a_time = 0 if cluster is not None else _at_a_time(study, machine, jobs, folder=folder)

    def runner(watch: Watch) -> Runner | ClusterRunner:
        if cluster is not None:
            return ClusterRunner(study, folder, runs, watch, command, cluster)
        return Runner(study, folder, runs, watch, command, at_a_time, machine)

    out = console()
    live = Live(console=out, refresh_per_second=4, transient=True) if sys.stdout.isatty() else None
    showing: AbstractContextManager[object] = live if live is not None else nullcontext()
    with showing:
        total = len({arm.address for arm in study.arms})
        outcomes = runner(Board(total, live, write=typer.echo if live is None else _above(live))).run()
    _conclude(outcomes, folder=folder, again=again)


def _at_a_time(study: Study, machine: Machine, jobs: Jobs, *, folder: Path) -> int:
    """Return how many runs this machine has at a time, and say so."""
    processes = study.spread.processes
    largest = max(weight_bytes(arm.base) for arm in study.arms)
    runs = len({arm.address for arm in study.arms})
    count = machine.jobs(jobs, runs=runs, weight_bytes=largest, processes=processes)
    threads = machine.threads(jobs=count, processes=processes)
    each = f"{threads} thread{'s' if threads > 1 else ''} each"
    if processes > 1:
        each = f"{processes} processes{', sharded,' if study.spread.sharded else ''} each with {threads} of the threads"
    typer.echo(f"{count} at a time, {each}; logs in {folder / 'logs'}")
    return count


def _above(live: Live) -> Callable[[str], None]:
    return lambda line: live.console.print(line, markup=False, highlight=False)


def _conclude(outcomes: Sequence[Outcome], *, folder: Path, again: str) -> None:
    if any(outcome.status in ("finished", "stopped") for outcome in outcomes):
        found = load_runs(folder)
        show(console(), table(found))
        typer.echo(f"report: {write(found, folder)}")
    for outcome in _once(outcomes, "failed"):
        typer.echo(f"\nfailed: {title(outcome.arm)}, log: {outcome.log}", err=True)
        typer.echo("\n".join(f"  {line}" for line in outcome.words.splitlines()), err=True)
    sent = _once(outcomes, "submitted")
    if sent:
        typer.echo(f"{len(sent)} runs go on in their jobs. To hear of them: {again}", err=True)
        raise typer.Exit(130)
    left = [outcome for outcome in outcomes if outcome.status in ("interrupted", "waiting")]
    if left:
        typer.echo(f"interrupted: {len(left)} of {len(outcomes)} runs are not done. To go on: {again}", err=True)
        raise typer.Exit(130)
    if _once(outcomes, "failed"):
        raise typer.Exit(1)


def _once(outcomes: Sequence[Outcome], status: str) -> list[Outcome]:
    return list({outcome.arm.address: outcome for outcome in outcomes if outcome.status == status}.values())
