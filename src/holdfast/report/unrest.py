"""Instability: how far success on a suite moves from one moment to the next, late in training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from holdfast.report.compare import Arm
from holdfast.report.contrasts import Term, at, common_steps, measure

FEWEST = 3


def late_moments(arm: Arm, suite: str) -> Sequence[int]:
    """Return the last half of the moments after step 0 that every seed measured; empty if they are fewer than three."""
    steps = [step for step in common_steps(arm, suite) if step > 0]
    half = steps[len(steps) // 2 :] if len(steps) >= 2 * FEWEST else steps[-FEWEST:]
    return half if len(half) >= FEWEST else ()


def unrest(arm: Arm, suite: str) -> dict[int, float]:
    """Return for each seed the mean absolute difference between adjacent late moments, on the problems of both.

    It holds drift, true back and forth, and the noise of finitely many problems: compare it between arms that were
    asked the same, do not read it alone. Empty with fewer than three such moments.
    """
    steps = late_moments(arm, suite)
    moves: dict[int, list[float]] = {}
    for one, other in itertools.pairwise(steps):
        found = measure([Term(arm, suite, at(arm, other)), Term(arm, suite, at(arm, one), -1.0)])
        for seed, move in (found.by_seed if found else {}).items():
            moves.setdefault(seed, []).append(abs(move))
    return {seed: sum(own) / len(own) for seed, own in moves.items() if len(own) == len(steps) - 1}
