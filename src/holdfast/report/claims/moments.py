"""The words for moments of a run that rows use."""

from __future__ import annotations

from typing import Literal

from holdfast.report import contrasts
from holdfast.report.claims.base import Cell
from holdfast.report.compare import Arm
from holdfast.report.contrasts import Moments

At = Literal["base", "end", "late", "peak", "id_peak"]
"""``base``: before training. ``end``: the last moment. ``late``: the mean over all moments in the second half of
training. ``peak``: the arm's best moment on the suite itself, in hindsight (an oracle, and the best of several noisy
rates, hence too high). ``id_peak``: its best moment on the suite ``validation``."""


def moments(arm: Arm, suite: str, at: At, cell: Cell, metric: str = "success") -> Moments:
    """Return the steps that a word means for an arm, seed by seed.

    Raises:
        NotRecorded: ``id_peak`` in a cell without a suite ``validation``.
    """
    if at == "base":
        return contrasts.base(arm)
    if at == "end":
        return contrasts.end(arm, suite, metric)
    if at == "late":
        return contrasts.late(arm, suite, metric)
    if at == "peak":
        return contrasts.best(arm, suite, metric)
    if at == "id_peak":
        return contrasts.best(arm, cell.suite("validation"))
    raise ValueError(f"at: {at} is none of base, end, late, peak, id_peak")
