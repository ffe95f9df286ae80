"""A reading of one arm at one moment, what one reading is relative to another, or what a reading became."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.records import Estimate, Record
from holdfast.report import over_seeds
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.regret import best_moment
from holdfast.report.run_data import RunData

Moment = Literal["end", "first", "peak"]
STEP = "step"


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
        unit: ``points`` for shares, which are then told in points.
        above, below: Bounds of the number.
    """

    arm: str
    reading: str
    over: str | None = None
    at: Moment = "end"
    since: Moment | None = None
    suite: str = "ood"
    unit: Literal["ratio", "points"] = "ratio"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the mean over seeds with its interval, of other problems too where the reading came with one.

        Raises:
            NotRecorded: no record holds it.
        """
        arm = cell.arm(self.arm)
        names = [self.reading, *([self.over] if self.over else [])]
        moments = [self.at, *([self.since] if self.since else [])]
        found = [
            [record for record in records if record is not None]
            for run in arm.measured
            if None not in (records := [self._record(run, when, cell, names) for when in moments])
        ]
        if not found:
            raise NotRecorded(f"no record of {arm.name} holds {' and '.join(names)}")
        told = []
        for place, when in enumerate(moments):
            means = [sum(_value(records[place], name) for records in found) / len(found) for name in names]
            said = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, means, strict=True))
            told.append(f"{said} ({when})" if self.since else said)
        values = [[self._number(record) for record in records] for records in found]
        if self.over or self.since:
            estimate = over_seeds.of_seeds([row[0] - row[1] if self.since else row[0] for row in values])
        else:
            alone = [Estimate(row[0], None, None, 1, 1, over_seeds.SEEDS) for row in values]
            whole = [records[0].estimates.get(self.reading) for records in found]
            estimate = over_seeds.of_estimates([one or plain for one, plain in zip(whole, alone, strict=True)])
        return Measured(estimate, len(values), f"{arm.name}: {'; '.join(told)}", self.unit)

    def _number(self, record: Record) -> float:
        return _value(record, self.reading) / (_value(record, self.over) if self.over else 1.0)

    def _record(self, run: RunData, when: Moment, cell: Cell, names: Sequence[str]) -> Record | None:
        """Return the record of a moment that holds all names; None if there is none."""
        known = [r for r in run.records if all(name == STEP or r.readings.get(name) is not None for name in names)]
        if when == "peak":
            step = best_moment(run, cell.suite(self.suite))
            return next((record for record in known if record.step == step), None)
        return (known[0] if when == "first" else known[-1]) if known else None


def _value(record: Record, name: str) -> float:
    value = record.step if name == STEP else record.readings[name]
    assert value is not None
    return float(value)
