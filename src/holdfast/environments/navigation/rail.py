"""The rail: the chain of points of a route at which the walker is asked what to do.

As published: the start; on each leg up to five points, evenly spaced, each kept by chance; each milestone; and at last
the destination. The start and an intersection expect the turn of the leg that begins there, a point on the road expects
a step forward, the destination a stop. **Every right action, a turn too, leads to the next point**: after the turn at
the start one stands at the first point of leg 0, or at its milestone if no point of that leg was kept. So a leg without
points is walked by its turn alone, and the number of steps forward is the number of points kept.

The published construction draws from the global generator at every reset; here it is a pure function of route and seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import cos, floor, radians
from random import Random

from holdfast.environments.navigation.geometry import EARTH_RADIUS, LatLng, between, distance
from holdfast.environments.navigation.route import Route
from holdfast.errors import UserError

SHORTEST_LEG = 5.0
"""Meters; a leg that is not longer has no points of its own."""
FROM_MILESTONE = 8.0
"""Meters; a point that is not farther from both ends of its leg is left out."""
TO_PANORAMA = 20.0
"""Meters; a point without a panorama this near is left out."""
CELL_DEGREES = 0.0005


class Kind(StrEnum):
    """What a point is, which says what it expects."""

    START = "start"
    """Expects the turn of the first leg."""
    ROAD = "road"
    """Expects a step forward."""
    INTERSECTION = "intersection"
    """Expects the turn of the leg that begins here."""
    DESTINATION = "destination"
    """Expects a stop."""


@dataclass(frozen=True)
class Point:
    """One question of a route.

    Attributes:
        kind: What the point is.
        leg: The leg whose turn is expected (start, intersection), that is walked (road), or that ended (destination).
        landmark: Name of the place announced here, the destination's at the end; None if there is none.
        side: On which side of the walker, who looks as he arrived, that place is.
        position: Where the point is.
    """

    kind: Kind
    leg: int
    landmark: str | None
    side: str | None
    position: LatLng

    @property
    def landmark_text(self) -> str:
        """The first part of the published observation.

        On the road and at the start it reads ``No landmarks nearby``; an intersection without landmark repeats the
        route file's ``No landmark nearby``, singular.
        """
        if self.kind in (Kind.START, Kind.ROAD):
            return "No landmarks nearby"
        if self.landmark is None:
            return "No landmark nearby"
        name = f"The destination {self.landmark}" if self.kind is Kind.DESTINATION else self.landmark
        return f"{name} is on your {self.side}"

    @property
    def intersection_text(self) -> str:
        """The second part of the published observation; empty but at an intersection."""
        return "You observe an intersection" if self.kind is Kind.INTERSECTION else ""

    @property
    def observation(self) -> str:
        """The published observation: both parts, with ``"; "`` between them even where the second is empty."""
        return f"{self.landmark_text}; {self.intersection_text}"


class Panoramas:
    """Known points on the streets of a real city, found by nearness. Immutable after construction.

    Args:
        places: Where panoramas were taken.
    """

    def __init__(self, places: Iterable[LatLng]) -> None:
        cells: dict[tuple[int, int], list[LatLng]] = {}
        for place in places:
            cells.setdefault(_cell(place), []).append(place)
        self._cells = cells

    def nearest(self, place: LatLng, *, within: float = TO_PANORAMA) -> LatLng | None:
        """Return the panorama nearest to ``place``, or None if none is ``within`` so many meters."""
        row, column = _cell(place)
        meters_a_cell = radians(CELL_DEGREES) * EARTH_RADIUS
        rows = int(within / meters_a_cell) + 1
        columns = int(within / (meters_a_cell * max(0.01, cos(radians(place[0]))))) + 1
        near = [
            (distance(place, other), other)
            for r in range(row - rows, row + rows + 1)
            for c in range(column - columns, column + columns + 1)
            for other in self._cells.get((r, c), ())
        ]
        best = min(near, default=None)
        return best[1] if best is not None and best[0] <= within else None


def _cell(place: LatLng) -> tuple[int, int]:
    return floor(place[0] / CELL_DEGREES), floor(place[1] / CELL_DEGREES)


def rail(
    route: Route,
    *,
    seed: int,
    drop_rate: float = 0.5,
    straight_line_length: int = 5,
    panoramas: Panoramas | None = None,
) -> tuple[Point, ...]:
    """Return the points of ``route`` in order.

    Points of a leg lie at the fractions 1/n, 2/n, ... n/n of it; the last falls on the milestone and so is always left
    out, but where snapping to a panorama moves it away.

    Args:
        route: Any route.
        seed: Which points of the road are kept depends on it and on the route's name alone.
        drop_rate: Chance of each point to be left out; 0 keeps all, 1 none.
        straight_line_length: n, the number of points of a leg before any is left out; 0 for none.
        panoramas: For real streets: points move to the nearest panorama, or are left out. None for made cities,
            where there is one everywhere.

    Raises:
        UserError: ``drop_rate`` is no probability, or ``straight_line_length`` is negative.
    """
    if not 0 <= drop_rate <= 1:
        raise UserError(f"drop_rate is {drop_rate!r}; it must be a probability, 0 to 1")
    if straight_line_length < 0:
        raise UserError(f"straight_line_length is {straight_line_length!r}; it must be 0 or more")
    rng = Random(f"rail {seed} {route.name}")
    points = [Point(Kind.START, 0, None, None, route.start)]
    last = len(route.legs) - 1
    for number, leg in enumerate(route.legs):
        begin = route.beginning(number)
        for position in _on_leg(begin, leg.end, rng, drop_rate, straight_line_length, panoramas):
            points.append(Point(Kind.ROAD, number, None, None, position))
        if number < last:
            points.append(Point(Kind.INTERSECTION, number + 1, leg.landmark, leg.side, leg.end))
    points.append(Point(Kind.DESTINATION, last, route.destination, route.destination_side, route.legs[-1].end))
    return tuple(points)


def _on_leg(
    begin: LatLng, end: LatLng, rng: Random, drop_rate: float, many: int, panoramas: Panoramas | None
) -> list[LatLng]:
    """Return the points that are kept between two milestones."""
    if distance(begin, end) <= SHORTEST_LEG:
        return []
    kept = []
    for step in range(1, many + 1):
        if rng.random() < drop_rate:
            continue
        position: LatLng | None = between(begin, end, step / many)
        if panoramas is not None and position is not None:
            position = panoramas.nearest(position)
        if position is None or min(distance(position, begin), distance(position, end)) <= FROM_MILESTONE:
            continue
        kept.append(position)
    return kept
