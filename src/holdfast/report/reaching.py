"""What training had spent when success first reached a level."""

from __future__ import annotations

from typing import Literal

from holdfast.report.compare import Arm
from holdfast.report.contrasts import reading_name
from holdfast.report.run_data import RunData

Budget = Literal["steps", "flops", "flops_6nd", "flops_trainable", "tokens"]


def spent_to(arm: Arm, suite: str, level: float, *, of: Budget) -> dict[int, float | None]:
    """Return for each seed what was spent until success on a suite first reached ``level``; None for never.

    Between the moment before and the first one at the level, success is taken to rise in a straight line: moments lie
    far apart, and without that every arm would seem to arrive at the same moments. A base that is there already has
    spent 0. Seeds that recorded neither success nor ``of`` are left out.
    """
    found = {run.seed: _spent(run, suite, level, of) for run in arm.measured}
    return {seed: spent for seed, (known, spent) in found.items() if known}


def _spent(run: RunData, suite: str, level: float, of: Budget) -> tuple[bool, float | None]:
    name = reading_name(suite)
    rows = [(record.spent.get(of), record.readings.get(name)) for record in run.records]
    points = [(spent, value) for spent, value in rows if spent is not None and value is not None]
    before: tuple[float, float] | None = None
    for spent, value in points:
        if value >= level:
            if before is None:
                return True, float(spent)
            share = (level - before[1]) / (value - before[1])
            return True, before[0] + share * (spent - before[0])
        before = (spent, value)
    return bool(points), None
