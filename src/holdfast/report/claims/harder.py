"""Whether one arm's gain over another grows with the difficulty of the problem."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.difficulty import gains_by_level


@dataclass(frozen=True)
class Harder:
    """``{kind: harder, arm: dft, against: nll, suite: drawn, above: 0}``.

    The number is the slope of the gain over levels of difficulty, 0.1 for ten points a level.

    Attributes:
        arm, against, suite: Whose gain over whom, on what, at the end.
        above, below: Bounds of the slope.
    """

    arm: str
    against: str
    suite: str
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the slope with its interval over seeds and problems."""
        arm, against, suite = cell.arm(self.arm), cell.arm(self.against), cell.suite(self.suite)
        found = gains_by_level(arm, against, suite)
        if found is None or found.slope is None:
            raise NotRecorded(f"the problems of {suite} have no levels of difficulty, or fewer than three")
        told = ", ".join(f"level {k} {words.points(one.value or 0.0)}" for k, one in found.gains.items())
        seeds = len({run.seed for run in arm.measured} & {run.seed for run in against.measured})
        return Measured(found.slope, seeds, f"{arm.name} − {against.name}, points: {told}", "points a level")
