"""Where a line of interpolated models has what another model has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence


def strength_at(line: Sequence[tuple[float, float]], value: float) -> float:
    """Return the largest strength at which a piecewise linear line comes to ``value``: it is read from its far end.

    Args:
        line: Strength and value, by strength.
        value: To come to; where no piece does, the strength of the nearest point, the largest of equals.

    Example:
        >>> strength_at([(0.0, 0.0), (0.5, 0.1), (1.0, 0.9)], 0.5)
        0.75
    """
    for (low, first), (high, second) in reversed(list(itertools.pairwise(line))):
        if min(first, second) <= value <= max(first, second):
            return high if first == second else low + (high - low) * (value - first) / (second - first)
    return max(line, key=lambda point: (-abs(point[1] - value), point[0]))[0]


def between(strengths: Sequence[float], strength: float) -> dict[int, float]:
    """Return which points a strength lies between, and the weight of each in linear interpolation.

    Args:
        strengths: Ascending, at least one.
        strength: Clamped to them.

    Example:
        >>> between([0.0, 0.5, 1.0], 0.75)
        {1: 0.5, 2: 0.5}
    """
    clamped = min(max(strength, strengths[0]), strengths[-1])
    for place, (low, high) in enumerate(itertools.pairwise(strengths)):
        if low <= clamped <= high and high > low:
            share = (clamped - low) / (high - low)
            return {number: weight for number, weight in ((place, 1 - share), (place + 1, share)) if weight}
    return {len(strengths) - 1: 1.0}
