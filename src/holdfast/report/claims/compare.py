"""One arm against another at one moment, on the same problems and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.claims.moments import At, moments
from holdfast.report.contrasts import Term, level, measure


@dataclass(frozen=True)
class Compare:
    """``{kind: compare, arm: attention, against: full, suite: ood, at: end, above: 0.05}``.

    Attributes:
        arm, against: The two arms; the number is the first one's rate minus the second one's.
        suite, metric: Success on what.
        minus: A second suite; the number is then the difference of the two arms' gaps.
        at: See `holdfast.report.claims.moments`; each arm at its own such moment.
        above, below: Bounds of the difference, 0.05 for five points.
    """

    arm: str
    against: str
    suite: str
    minus: str | None = None
    at: At = "end"
    metric: str = "success"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the difference with its interval over seeds and problems."""
        first, second, suite = cell.arm(self.arm), cell.arm(self.against), cell.suite(self.suite)
        steps = [moments(arm, suite, self.at, cell, self.metric) for arm in (first, second)]
        terms = [Term(first, suite, steps[0]), Term(second, suite, steps[1], -1.0)]
        if self.minus is not None:
            other = cell.suite(self.minus)
            terms += [Term(first, other, steps[0], -1.0), Term(second, other, steps[1])]
            return measured(measure(terms, self.metric), f"{suite} − {other}, {first.name} against {second.name}")
        told = [level(arm, suite, when, self.metric) for arm, when in zip((first, second), steps, strict=True)]
        values = [words.percent(one.value if one else None) for one in told]
        return measured(measure(terms, self.metric), f"{first.name} {values[0]}, {second.name} {values[1]}")
