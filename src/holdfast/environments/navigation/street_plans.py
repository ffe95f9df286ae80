"""Plans of streets: crossings and the blocks between them, in several styles, before anything is named.

Every plan is planar, at least three streets meet at every crossing but a few at the rim, and two streets that leave a
crossing are at least 40 degrees apart.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin
from random import Random
from typing import NamedTuple

Spot = tuple[float, float]
"""Meters east and north of the middle of a city."""
Edge = tuple[int, int]


class Plan(NamedTuple):
    """Crossings, and the pairs of them that a block joins."""

    crossings: list[Spot]
    blocks: list[Edge]


def _lattice(east: list[float], north: list[float]) -> Plan:
    """Return the full grid of the given street positions."""
    wide = len(east)
    crossings = [(x, y) for y in north for x in east]
    blocks = [(r * wide + c, r * wide + c + 1) for r in range(len(north)) for c in range(wide - 1)]
    blocks += [(r * wide + c, (r + 1) * wide + c) for r in range(len(north) - 1) for c in range(wide)]
    return Plan(crossings, blocks)


def _steps(rng: Random, low: int, high: int) -> list[float]:
    """Return the positions of five to seven parallel streets."""
    positions = [0.0]
    for _ in range(rng.randint(4, 6)):
        positions.append(positions[-1] + rng.randint(low, high))
    return positions


def _grid(rng: Random) -> Plan:
    return _lattice(_steps(rng, 70, 170), _steps(rng, 60, 130))


def _jittered(rng: Random) -> Plan:
    plan = _lattice(_steps(rng, 90, 160), _steps(rng, 90, 140))
    return Plan([(x + rng.uniform(-11, 11), y + rng.uniform(-11, 11)) for x, y in plan.crossings], plan.blocks)


def _rotated(rng: Random) -> Plan:
    plan, angle = _grid(rng), rng.uniform(8, 82) / 180 * pi
    return Plan([(x * cos(angle) + y * sin(angle), y * cos(angle) - x * sin(angle)) for x, y in plan.crossings],
                plan.blocks)  # fmt: skip


def _diagonal(rng: Random) -> Plan:
    """Square blocks of one size, so that the avenues run at 45 degrees."""
    size, wide, high = rng.randint(80, 130), rng.randint(5, 7), rng.randint(5, 7)
    plan = _lattice([size * c for c in range(wide)], [size * r for r in range(high)])
    crossed: set[Edge] = set()
    for rising in rng.choices((True, False), k=3):
        offset = rng.randint(2 - high, wide - 2) if rising else rng.randint(1, wide + high - 4)
        for r in range(high - 1):
            c = offset + r if rising else offset - r
            if 0 <= c < wide - 1 and (r, c) not in crossed:
                crossed.add((r, c))
                corner = r * wide + c
                plan.blocks.append((corner, corner + wide + 1) if rising else (corner + 1, corner + wide))
    return plan


def _rings(rng: Random) -> Plan:
    """Rings of straight blocks around a middle, joined by spokes."""
    spokes, rings = rng.randint(7, 8), rng.randint(3, 4)
    first, apart, angle = rng.randint(75, 110), rng.randint(60, 85), rng.uniform(0, 2 * pi)
    crossings: list[Spot] = [(0.0, 0.0)]
    blocks: list[Edge] = []
    for ring in range(rings):
        for spoke in range(spokes):
            along = angle + 2 * pi * spoke / spokes
            radius = first + ring * apart
            crossings.append((radius * sin(along), radius * cos(along)))
            here = 1 + ring * spokes + spoke
            blocks.append((here, 1 + ring * spokes + (spoke + 1) % spokes))
            blocks.append((here - spokes if ring else 0, here))
    return Plan(crossings, blocks)


STYLES: dict[str, Callable[[Random], Plan]] = {
    "grid": _grid,
    "jittered": _jittered,
    "rotated": _rotated,
    "diagonal": _diagonal,
    "rings": _rings,
}
"""Styles of city by name."""
SNAPPED_STYLES = ("grid", "diagonal")
"""Styles whose streets run along the eight compass directions."""


def thinned(plan: Plan, rng: Random) -> Plan:
    """Return the plan with some blocks removed; a crossing that had three streets or more keeps three."""
    degree = [0] * len(plan.crossings)
    for block in plan.blocks:
        for crossing in block:
            degree[crossing] += 1
    share = rng.uniform(0.08, 0.25)
    kept = []
    for a, b in plan.blocks:
        if rng.random() < share and degree[a] > 3 and degree[b] > 3:
            degree[a] -= 1
            degree[b] -= 1
        else:
            kept.append((a, b))
    return Plan(plan.crossings, kept)
