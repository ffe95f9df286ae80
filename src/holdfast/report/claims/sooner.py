"""Which arm reaches a level first, counted in steps or FLOPs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from holdfast.errors import NotRecorded
from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.contrasts import end, level
from holdfast.report.over_seeds import SEEDS, of_seeds
from holdfast.report.reaching import Budget, spent_to


@dataclass(frozen=True)
class Sooner:
    """``{kind: sooner, arm: full, against: attention, suite: id, to: 0.9, of: flops, below: 1}``.

    Attributes:
        arm, against: The number is what the first spends divided by what the second spends.
        suite, to: Which success has to be reached.
        to_end_of: In place of ``to``: an arm, whose success at its end has to be reached.
        of: ``steps``, ``flops``, ``flops_6nd``, ``flops_trainable``, ``tokens``.
        above, below: Bounds of the ratio.
    """

    arm: str
    against: str
    suite: str
    to: float | None = None
    to_end_of: str | None = None
    of: Budget = "steps"
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.to is None) == (self.to_end_of is None):
            raise ValueError(
                "give either to, a success, or to_end_of, an arm whose success at its end is to be reached"
            )

    def measure(self, cell: Cell) -> Measured:
        """Return the ratio over seeds (geometric mean, Student's interval of the logarithm).

        If one arm never gets there in any seed and the other always does, the ratio is 0 or infinite and certain as far
        as these runs go; if that differs between seeds, nothing is told.
        """
        suite = cell.suite(self.suite)
        first, second = cell.arm(self.arm), cell.arm(self.against)
        to = self._level(cell, suite)
        one, other = spent_to(first, suite, to, of=self.of), spent_to(second, suite, to, of=self.of)
        shared = sorted(one.keys() & other.keys())
        if not shared:
            raise NotRecorded(f"no {self.of} to {words.percent(to)} on {suite} in one seed of both")
        pairs = [(one[seed], other[seed]) for seed in shared]
        if any(spent == 0 for pair in pairs for spent in pair):
            raise NotRecorded(f"the base itself is at {words.percent(to)} on {suite} already")
        shown = words.amount if self.of == "steps" else words.power_of_ten
        told = f"{self.of} to {words.percent(to)} on {suite}: {first.name} {_told([a for a, _ in pairs], shown)}, " + (
            f"{second.name} {_told([b for _, b in pairs], shown)}"
        )
        never = [sum(value is None for value in column) for column in zip(*pairs, strict=True)]
        if never in ([0, len(pairs)], [len(pairs), 0]):
            certain = 0.0 if never[1] else math.inf
            return Measured(_exactly(certain, len(pairs)), len(pairs), told, "ratio", exact=True)
        if any(never):
            return Measured(Estimate(None, None, None, len(pairs), len(pairs), SEEDS), len(pairs), told, "ratio")
        logs = of_seeds([math.log(a / b) for a, b in pairs if a is not None and b is not None])
        value, low, high = (None if end is None else math.exp(end) for end in (logs.value, logs.low, logs.high))
        return Measured(replace(logs, value=value, low=low, high=high), len(pairs), told, "ratio")

    def _level(self, cell: Cell, suite: str) -> float:
        """Return the success that is to be reached."""
        if self.to_end_of is None:
            assert self.to is not None
            return self.to
        arm = cell.arm(self.to_end_of)
        told = level(arm, suite, end(arm, suite))
        if told is None or told.value is None:
            raise NotRecorded(f"{arm.name} has no success on {suite} at its end")
        return told.value


def _told(values: Sequence[float | None], shown: Callable[[float | None], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "never"
    never = len(values) - len(known)
    return shown(sum(known) / len(known)) + (f" (never in {never} of {len(values)} seeds)" if never else "")


def _exactly(value: float, seeds: int) -> Estimate:
    return Estimate(value, value, value, seeds, seeds, SEEDS)
