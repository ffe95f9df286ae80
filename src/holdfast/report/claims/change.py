"""What one arm gained or lost between two moments, on the same problems."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.claims.moments import At, moments
from holdfast.report.contrasts import Term, level, measure


@dataclass(frozen=True)
class Change:
    """``{kind: change, arm: full, suite: ood, since: peak, below: -0.1}``.

    Attributes:
        arm, suite, metric: Whose success on what.
        minus: A second suite; the number is then how the gap between the two changed.
        since, at: From and to; see `holdfast.report.claims.moments`. Since ``peak`` is biased downwards: what was best
            in hindsight was partly lucky.
        above, below: Bounds of the change, 0.1 for ten points.
    """

    arm: str
    suite: str
    minus: str | None = None
    since: At = "base"
    at: At = "end"
    metric: str = "success"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the later rate minus the earlier one, with its interval over seeds and problems."""
        arm, suite = cell.arm(self.arm), cell.suite(self.suite)
        before = moments(arm, suite, self.since, cell, self.metric)
        after = moments(arm, suite, self.at, cell, self.metric)
        terms = [Term(arm, suite, after), Term(arm, suite, before, -1.0)]
        if self.minus is not None:
            other = cell.suite(self.minus)
            terms += [Term(arm, other, after, -1.0), Term(arm, other, before)]
            return measured(
                measure(terms, self.metric), f"{arm.name}: {suite} − {other}, {self.at} against {self.since}"
            )
        told = [level(arm, suite, when, self.metric) for when in (before, after)]
        values = [words.percent(one.value if one else None) for one in told]
        return measured(measure(terms, self.metric), f"{arm.name} {values[0]} ({self.since}) → {values[1]} ({self.at})")
