"""What a long job shows, as `holdfast.train.progress.Progress`: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from holdfast.records import Record, Verb
from holdfast.train.progress import Progress as Watcher


@dataclass
class Standing:
    """Where a job stands, in words; what both kinds of display tell.

    Attributes:
        steps: Steps in all.
        first: Step at which this process began.
        metrics: The last line of training metrics.
        scores: The last success of each suite.
        best: The step that the stopping signal would keep.
        unit: What is counted.
        clock: Seconds, for the time that is left.
    """

    steps: int = 0
    first: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    best: int | None = None
    unit: str = "step"
    clock: Callable[[], float] = time.monotonic
    since: float = 0.0

    def start(self, steps: int, at: int) -> None:
        """Note that training begins, or goes on at step ``at``."""
        self.steps, self.first, self.since = steps, at, self.clock()

    @property
    def step(self) -> int:
        """The last step that was told of."""
        return int(self.metrics.get("step", self.first))

    def measure(self, record: Record) -> None:
        """Note the scores of a moment."""
        self.scores = {
            name.removeprefix("eval_").removesuffix("_success"): value
            for name, value in record.readings.items()
            if name.startswith("eval_") and name.endswith("_success")
        }
        self.metrics = {**self.metrics, "step": record.step}
        if record.decision is not None:
            self.best = record.decision.best_step

    def words(self) -> str:
        """Return loss, NLL, how the last rollout went, scores and the best step so far."""
        parts = [f"{name} {self.metrics[name]:.4g}" for name in ("loss", "nll", "reward") if name in self.metrics]
        if "mixed_groups" in self.metrics:
            parts.append(f"unequal groups {percent(self.metrics['mixed_groups'])}")
        parts += [f"{name} {percent(value)}" for name, value in self.scores.items()]
        if self.best is not None:
            parts.append(f"best {self.best}")
        return "  ".join(parts)

    def line(self) -> str:
        """Return one plain line: step, words, and the time that is left."""
        done = self.step - self.first
        left = (self.clock() - self.since) / done * (self.steps - self.step) if done > 0 else None
        eta = f"  eta {int(left) // 60}:{int(left) % 60:02d}" if left is not None and self.step < self.steps else ""
        return f"{self.unit} {self.step}/{self.steps}  {self.words()}{eta}"


@dataclass
class Lines:
    """Plain lines: every moment, and at most one line of metrics in ``pause`` seconds."""

    write: Callable[[str], None] = typer.echo
    pause: float = 10.0
    standing: Standing = field(default_factory=Standing)
    _spoke: float = 0.0

    def said(self, line: str) -> None:
        """Print a line of information."""
        self.write(line)

    def started(self, steps: int, *, at: int) -> None:
        """Note that training begins."""
        self.standing.start(steps, at)
        self._spoke = self.standing.clock()
        if at:
            self.write(f"going on at step {at} of {steps}")

    def logged(self, metrics: Mapping[str, float]) -> None:
        """Print a line of metrics unless another was printed just now."""
        self.standing.metrics = metrics
        now = self.standing.clock()
        if now - self._spoke >= self.pause:
            self._spoke = now
            self.write(self.standing.line())

    def measured(self, record: Record) -> None:
        """Print what a moment measured."""
        self.standing.measure(record)
        self._spoke = self.standing.clock()
        self.write(self.standing.line())
        if record.decision is not None and record.decision.verdict is Verb.STOP:
            self.write(f"stopping: {record.decision.reason}")


@dataclass
class Bar:
    """A live bar of rich; lines of information scroll above it."""

    bar: Progress
    standing: Standing = field(default_factory=Standing)

    def __post_init__(self) -> None:
        self._task = self.bar.add_task("", total=None)

    def said(self, line: str) -> None:
        """Print a line above the bar."""
        self.bar.console.print(line, markup=False, highlight=False)

    def started(self, steps: int, *, at: int) -> None:
        """Give the bar its length."""
        self.standing.start(steps, at)
        self.bar.update(self._task, total=steps, completed=at)

    def logged(self, metrics: Mapping[str, float]) -> None:
        """Move the bar."""
        self.standing.metrics = metrics
        self.bar.update(self._task, completed=self.standing.step, description=self.standing.words())

    def measured(self, record: Record) -> None:
        """Show the scores of a moment, in the bar and as a line above it."""
        self.standing.measure(record)
        self.bar.update(self._task, completed=self.standing.step, description=self.standing.words())
        self.said(f"step {record.step}: {self.standing.words()}")
        if record.decision is not None and record.decision.verdict is Verb.STOP:
            self.said(f"stopping: {record.decision.reason}")


@contextmanager
def watched(*, again: str, unit: str = "step") -> Iterator[Watcher]:
    """Yield what shows progress; turn an interrupt into where things stand and exit code 130.

    Args:
        again: The command that goes on with the job.
        unit: What is counted.
    """
    lines = Lines(standing=Standing(unit=unit))
    try:
        if not sys.stdout.isatty():
            yield lines
            return
        console = Console()
        columns = (SpinnerColumn(), MofNCompleteColumn(), BarColumn(bar_width=24), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.description}", markup=False), console=console) as bar:
            yield Bar(bar, lines.standing)
    except KeyboardInterrupt:
        standing = lines.standing
        place = (
            f"at {standing.unit} {standing.step} of {standing.steps}"
            if standing.steps
            else f"before the first {standing.unit}"
        )
        typer.echo(f"interrupted {place}; what was saved is whole. To go on: {again}", err=True)
        raise typer.Exit(130) from None


def percent(value: float | None) -> str:
    """Return a share in words: ``97.5 %``, or ``?`` if unknown."""
    return "?" if value is None else f"{100 * value:.1f} %"
