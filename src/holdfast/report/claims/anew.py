"""The share of problems that reinforcement solves and no fine-tuned checkpoint ever did."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import NotRecorded
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.going_on import found, solved_anew


@dataclass(frozen=True)
class Anew:
    """``{kind: anew, arm: rl from the end, suite: ood_16, below: 0.05}``.

    Attributes:
        arm: An arm that was reinforced.
        suite: A suite that asks for several answers to each problem.
        above, below: Bounds of the share.
    """

    arm: str
    suite: str
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the share of problems solved in at least one of several answers, and by nothing before."""
        arm, suite = cell.arm(self.arm), cell.suite(self.suite)
        tuned, pairs = found(cell.section)
        made = None if tuned is None else solved_anew(arm, suite, suite, tuned, pairs)
        if made is None:
            raise NotRecorded(f"no problem of {suite} was asked before and after")
        return Measured(made, len(arm.measured), f"{arm.name}: new on {suite}", "rate")
