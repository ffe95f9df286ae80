"""One healed arm against interpolation that undoes as much, or that costs as much in distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.contrasts import end, level, measure
from holdfast.report.healed import groups, undone


@dataclass(frozen=True)
class Beyond:
    """``{kind: beyond, arm: uv merge, suite: ood, at: undone, above: 0}``.

    Attributes:
        arm: The healed arm; the number is its success minus that of interpolation from and towards the same models.
        suite: Success on what.
        at: ``undone``: interpolation that undoes as much of the update. ``id``: that has as much success on all suites
            with the purpose id together.
        above, below: Bounds of the difference, 0.05 for five points.
    """

    arm: str
    suite: str
    at: Literal["undone", "id"] = "undone"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the difference with its interval over seeds and problems.

        Raises:
            NotRecorded: no group of healed arms holds the arm.
        """
        arm, suite = cell.arm(self.arm), cell.suite(self.suite)
        group = next((group for group in groups(cell.section) if arm in group.arms), None)
        if group is None:
            raise NotRecorded(f"{arm.name} heals no checkpoint that was measured")
        known = [one for one in cell.section.suites_for("id") if end(arm, one.name)]
        terms = group.same_undone(arm, suite) if self.at == "undone" else group.same_id(arm, suite, known)
        share, own = words.percent(undone(arm)), level(arm, suite, end(arm, suite))
        told = f"{arm.name} {words.percent(own.value if own else None)}, {share} undone, against interpolation"
        return measured(measure(terms), told)
