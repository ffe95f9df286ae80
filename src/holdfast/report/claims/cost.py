"""What one arm's training spent, divided by what another's did: counted, not estimated."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import NotRecorded
from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.compare import Arm
from holdfast.report.reaching import Budget


@dataclass(frozen=True)
class Cost:
    """``{kind: cost, arm: attention, against: full, of: flops, below: 1.05}``.

    Attributes:
        arm, against: The number is what the first spent until its end divided by what the second did.
        of: ``steps``, ``flops``, ``flops_6nd``, ``flops_trainable``, ``tokens``.
        a_step: Whether to divide each by its steps first.
        above, below: Bounds of the ratio.
    """

    arm: str
    against: str
    of: Budget = "flops"
    a_step: bool = False
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the ratio of the means over seeds."""
        first, second = cell.arm(self.arm), cell.arm(self.against)
        one, other = self._spent(first), self._spent(second)
        told = f"{first.name} {words.power_of_ten(one)}, {second.name} {words.power_of_ten(other)} {self.of}"
        seeds = min(len(first.measured), len(second.measured))
        ratio = one / other
        estimate = Estimate(ratio, ratio, ratio, seeds, seeds, "counted")
        return Measured(estimate, seeds, told + (" a step" if self.a_step else ""), "ratio", exact=True)

    def _spent(self, arm: Arm) -> float:
        ends = [run.records[-1] for run in arm.measured]
        found = [end.spent.get(self.of, 0.0) / (end.step if self.a_step else 1) for end in ends if end.step]
        if not found or min(found) <= 0:
            raise NotRecorded(f"{arm.name} has no {self.of} recorded")
        return sum(found) / len(found)
