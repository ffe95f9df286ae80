"""A reading of one arm at one moment, what one reading is relative to another, or what a reading became."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.report import over_seeds
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.regret import best_moment
from holdfast.report.run_data import RunData

Moment = Literal["end", "first", "peak"]


@dataclass(frozen=True)
class Reading:
    """``{kind: reading, arm: tuned, reading: spectral_top, over: spectral_middle, above: 1}``.

    Attributes:
        arm: Whose record.
        reading: Its name in the record; ``step`` is the record's own.
        over: A second one; the number is then their ratio, seed by seed.
        at: The last moment that recorded it, the first, or ``peak``: each seed's best trained moment on ``suite``.
        since: A moment whose number is taken off.
        suite: For ``peak``.
        above, below: Bounds of the number.
    """

    arm: str
    reading: str
    over: str | None = None
    at: Moment = "end"
    since: Moment | None = None
    suite: str = "ood"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the mean over seeds with Student's interval; of one seed there is none.

        Raises:
            NotRecorded: no record holds it.
        """
        arm = cell.arm(self.arm)
        names = [self.reading, *([self.over] if self.over else [])]
        found = [rows for run in arm.measured if (rows := self._of(run, cell, names))]
        if not found:
            raise NotRecorded(f"no record of {arm.name} holds {' and '.join(names)}")
        numbers = [[row[0] / row[1] if self.over else row[0] for row in rows] for rows in found]
        values = [row[0] - row[1] if self.since else row[0] for row in numbers]
        told = []
        for place, when in enumerate([self.at, *([self.since] if self.since else [])]):
            means = [sum(column) / len(column) for column in zip(*(rows[place] for rows in found), strict=True)]
            said = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, means, strict=True))
            told.append(f"{said} ({when})" if self.since else said)
        return Measured(over_seeds.of_seeds(values), len(values), f"{arm.name}: {'; '.join(told)}", "ratio")

    def _of(self, run: RunData, cell: Cell, names: Sequence[str]) -> list[list[float]]:
        """Return what a run recorded under the names, ``at`` and ``since``; nothing if it lacks one of them."""
        known = []
        for record in run.records:
            row = [float(record.step) if name == "step" else record.readings.get(name) for name in names]
            kept = [value for value in row if value is not None]
            if len(kept) == len(names):
                known.append((record.step, kept))
        found = []
        for when in [self.at, *([self.since] if self.since else [])]:
            peak = best_moment(run, cell.suite(self.suite)) if when == "peak" else None
            rows = [row for step, row in known if when != "peak" or step == peak]
            if not rows:
                return []
            found.append(rows[0] if when == "first" else rows[-1])
        return found
