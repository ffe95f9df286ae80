"""What the training loop tells: where it stands at a moment, how long it took, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn


@dataclass(frozen=True)
class Moment:
    """A point of a run at which it is measured.

    Attributes:
        step: Optimizer steps taken so far.
        spent: The budget used so far.
        model: The live model. Measure it inside `models.compute.exported`.
        save: Writes a checkpoint of this very moment and returns nothing; nothing else writes.
    """

    step: int
    spent: Mapping[str, float]
    model: nn.Module
    save: Callable[[], None]


class Seconds(NamedTuple):
    """Wall-clock time of a run, its earlier parts before a resume included; in results and metrics, never in records.

    Attributes:
        train: Of its steps.
        measure: Of its moments.
    """

    train: float = 0.0
    measure: float = 0.0


class Unlogged(NamedTuple):
    """What happened since the last line of metrics: ``clipped`` of ``steps`` had a gradient that was cut down."""

    steps: int = 0
    clipped: int = 0

    def plus(self, *, clipped: bool) -> Unlogged:
        """Return the same after one more step."""
        return Unlogged(self.steps + 1, self.clipped + clipped)


@dataclass(frozen=True)
class Ended:
    """How training ended: ``finished``, ``stopped`` by a decision, or ``interrupted`` by the user."""

    status: str
    step: int
    spent: Mapping[str, float]
    seconds: Seconds
