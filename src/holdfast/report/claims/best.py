"""Two groups of arms, each at its best: one selection over all of its arms and moments."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.report import words
from holdfast.report.choosing import By, Chosen, choose
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.contrasts import Term, level, measure


@dataclass(frozen=True)
class Best:
    """``{kind: best, arm: attention_any_rate, against: full_any_rate, suite: ood, by: id, above: 0}``.

    Attributes:
        arm, against: Names that may stand for several arms each, for example one module at every learning rate.
        suite: What is compared once the best are chosen.
        by: ``final`` (the arm by the suite ``validation``, its last moment), ``id`` (arm and moment by it) or ``ood``
            (arm and moment by the compared suite itself: an oracle); see `holdfast.report.choosing`.
        above, below: Bounds of the difference.
    """

    arm: str
    against: str
    suite: str
    by: By = "id"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the difference of the two chosen with its interval, in which the choosing has no part."""
        suite, known = cell.suite(self.suite), cell.suite("validation")
        first, second = (
            choose(cell.several(name), by=self.by, known=known, asked=suite) for name in (self.arm, self.against)
        )
        found = measure([Term(first.arm, suite, first.moments), Term(second.arm, suite, second.moments, -1.0)])
        return measured(found, f"{_told(first, suite)}, {_told(second, suite)}, chosen by {self.by}")


def _told(chosen: Chosen, suite: str) -> str:
    found = level(chosen.arm, suite, chosen.moments)
    return f"{chosen.arm.name} at step {chosen.step} {words.percent(found.value if found else None)}"
