"""A rate of one arm at one moment, or the gap between two suites there."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.claims.moments import At, moments
from holdfast.report.contrasts import Term, measure


@dataclass(frozen=True)
class Level:
    """``{kind: level, arm: attention, suite: ood, at: end, above: 0.7}``.

    Attributes:
        arm, suite: Whose success on what.
        minus: A second suite; the number is then the first rate minus the second (a memorization gap).
        at: See `holdfast.report.claims.moments`.
        metric: The reading; ``success`` unless said.
        above, below: Bounds of the rate, or of the gap.
    """

    arm: str
    suite: str
    minus: str | None = None
    at: At = "end"
    metric: str = "success"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the rate, or the gap, with its interval over seeds and problems."""
        arm, suite = cell.arm(self.arm), cell.suite(self.suite)
        when = moments(arm, suite, self.at, cell, self.metric)
        first = measure([Term(arm, suite, when)], self.metric)
        if self.minus is None:
            told = measured(first, f"{arm.name} on {suite}", "rate")
            return Measured(told.estimate, told.seeds, f"{arm.name} {words.percent(told.estimate.value)}", "rate")
        other = cell.suite(self.minus)
        found = measure([Term(arm, suite, when), Term(arm, other, when, -1.0)], self.metric)
        second = measure([Term(arm, other, when)], self.metric)
        parts = [words.percent(one.estimate.value if one else None) for one in (first, second)]
        return measured(found, f"{arm.name}: {suite} {parts[0]}, {other} {parts[1]}")
