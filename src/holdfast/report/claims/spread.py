"""Instability: how far one checkpoint lies from the next, one arm against another."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.over_seeds import of_seeds
from holdfast.report.unrest import unrest


@dataclass(frozen=True)
class Spread:
    """``{kind: spread, arm: mlp_matched, against: attention, suite: ood, above: 0}``.

    Attributes:
        arm, against: The number is the first one's unrest minus the second one's.
        suite: On what.
        above, below: Bounds of the difference, 0.05 for five points.
    """

    arm: str
    against: str
    suite: str
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the difference over seeds (`holdfast.report.unrest`) with Student's interval."""
        suite = cell.suite(self.suite)
        first, second = cell.arm(self.arm), cell.arm(self.against)
        one, other = unrest(first, suite), unrest(second, suite)
        shared = sorted(one.keys() & other.keys())
        if not shared:
            raise NotRecorded(f"fewer than three moments of {suite} in the second half of training")
        told = [words.percent(of_seeds([each[seed] for seed in shared]).value) for each in (one, other)]
        return Measured(
            of_seeds([one[seed] - other[seed] for seed in shared]),
            len(shared),
            f"from one moment to the next: {first.name} {told[0]}, {second.name} {told[1]}",
        )
