"""How a rate goes with the logarithm of the learning rate, or of the update's size, over several arms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.claims.moments import At, moments
from holdfast.report.compare import Arm
from holdfast.report.contrasts import Term, end, level, mean_reading, measure
from holdfast.report.groups import facts


@dataclass(frozen=True)
class Trend:
    """``{kind: trend, arm: full_any_rate, over: learning_rate, suite: ood, below: 0}``.

    The number is the slope of the least-squares line of success against log10 of ``over``, a weighted sum of the arms'
    rates, so that its interval is again one over seeds and problems. A slope says which way it goes on the whole; it
    does not say that every step goes that way.

    Attributes:
        arm: A name that stands for several arms.
        over: A recipe key that is a number, or a reading such as ``update_norm`` (at each arm's end, mean over seeds).
        suite, at: Success on what and when.
        minus: A second suite, for the slope of a gap.
        since: A moment whose success is taken off, for the slope of a loss.
        learned: Arms whose success on the suite ``seen`` is lower at the end are left out: an arm that has not learned
            the task says nothing about what learning it costs.
        above, below: Bounds of the slope, 0.1 for ten points a decade.
    """

    arm: str
    suite: str
    over: str = "learning_rate"
    minus: str | None = None
    at: At = "end"
    since: At | None = None
    learned: float | None = None
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the slope with its interval over seeds and problems."""
        suite = cell.suite(self.suite)
        arms = [arm for arm in cell.several(self.arm) if self._has_learned(arm, cell)]
        placed = sorted(((_place(arm, self.over), arm) for arm in arms), key=lambda pair: pair[0])
        if len({place for place, _ in placed}) < 3:
            which = "" if self.learned is None else f" at which seen is at least {words.percent(self.learned)}"
            raise NotRecorded(f"{self.arm} has fewer than three values of {self.over}{which}")
        x = np.array([place for place, _ in placed])
        weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        other = None if self.minus is None else cell.suite(self.minus)
        terms = []
        for weight, (_, arm) in zip(weights.tolist(), placed, strict=True):
            when = moments(arm, suite, self.at, cell)
            terms.append(Term(arm, suite, when, weight))
            if self.since is not None:
                terms.append(Term(arm, suite, moments(arm, suite, self.since, cell), -weight))
            if other is not None:
                terms.append(Term(arm, other, when, -weight))
        told = [level(arm, suite, moments(arm, suite, self.at, cell)) for _, arm in placed]
        rates = " ".join(words.percent(one.value if one else None) for one in told)
        if self.since is not None:
            before = [level(arm, suite, moments(arm, suite, self.since, cell)) for _, arm in placed]
            rates = f"{' '.join(words.percent(one.value if one else None) for one in before)} ({self.since}), {rates}"
        span = f"{10 ** x[0]:.2g} to {10 ** x[-1]:.2g}"
        what = suite if other is None else f"{suite} − {other}; {suite}"
        return measured(measure(terms), f"{what} at {self.over} {span}: {rates}", "points a decade")

    def _has_learned(self, arm: Arm, cell: Cell) -> bool:
        if self.learned is None:
            return True
        seen = cell.suite("seen")
        told = level(arm, seen, end(arm, seen))
        return told is not None and told.value is not None and told.value >= self.learned


def _place(arm: Arm, over: str) -> float:
    told = facts(arm.runs[0]).get(over)
    try:
        value = (
            float(told) if told is not None else mean_reading(arm, over, min(r.records[-1].step for r in arm.measured))
        )
    except ValueError as fault:
        raise NotRecorded(f"{over} of {arm.name} is no number: {told}") from fault
    if value is None or value <= 0:
        raise NotRecorded(f"{over} is not recorded for {arm.name}")
    return math.log10(value)
