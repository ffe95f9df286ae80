"""A reading of one arm at one moment, or what one reading is relative to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.report import over_seeds
from holdfast.report.claims.base import Cell, Measured


@dataclass(frozen=True)
class Reading:
    """``{kind: reading, arm: tuned, reading: spectral_top, over: spectral_middle, above: 1}``.

    Attributes:
        arm: Whose record.
        reading: Its name in the record.
        over: A second one; the number is then their ratio, seed by seed.
        at: The last moment that recorded it, or the first.
        above, below: Bounds of the number.
    """

    arm: str
    reading: str
    over: str | None = None
    at: Literal["end", "first"] = "end"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the mean over seeds with Student's interval; of one seed there is none.

        Raises:
            NotRecorded: no record holds it.
        """
        arm = cell.arm(self.arm)
        names = [self.reading, *([self.over] if self.over else [])]
        found: list[list[float]] = []
        for run in arm.measured:
            whole = [[record.readings.get(name) for name in names] for record in run.records]
            known = [[value for value in row if value is not None] for row in whole]
            kept = [row for row in known if len(row) == len(names)]
            if kept:
                found.append(kept[-1] if self.at == "end" else kept[0])
        if not found:
            raise NotRecorded(f"no record of {arm.name} holds {' and '.join(names)}")
        values = [row[0] / row[1] if self.over else row[0] for row in found]
        means = [sum(column) / len(column) for column in zip(*found, strict=True)]
        told = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, means, strict=True))
        return Measured(over_seeds.of_seeds(values), len(values), f"{arm.name}: {told}", "ratio")
