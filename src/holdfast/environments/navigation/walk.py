"""A walk: the questions of a route in order, with the turn that each leg begins with.

All of it follows from the route, the heading at the start and the seed of the rail, which a problem's facts hold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from holdfast.environments.navigation import route as routes
from holdfast.environments.navigation.geometry import COMPASS, compass, turn
from holdfast.environments.navigation.rail import Kind, Panoramas, Point, rail
from holdfast.environments.navigation.route import Route
from holdfast.environments.navigation.rules import Turn


@dataclass(frozen=True)
class Walk:
    """A route as it is walked.

    Attributes:
        route: The route.
        headings: In degrees: where one looks at first, then the heading of each leg.
        points: The questions.
        wrapped: Whether relative words take differences of headings modulo 360; the published data does not.
    """

    route: Route
    headings: tuple[int, ...]
    points: tuple[Point, ...]
    wrapped: bool

    def turn(self, leg: int, *, rounded: bool) -> Turn:
        """Return the turn at the beginning of ``leg``.

        Args:
            leg: From 0 on.
            rounded: Cut the coarse word from headings rounded to the compass, as anyone must who is told no more.
        """
        before, after = self.headings[leg : leg + 2]
        eighths = _eighth(before), _eighth(after)
        if rounded:
            before, after = 45 * eighths[0], 45 * eighths[1]
        return Turn(*eighths, turn(before, after, wrapped=self.wrapped))

    @property
    def facing(self) -> str:
        """The compass word of where one looks at first."""
        return compass(self.headings[0])


def sentence_number(point: Point) -> int:
    """Return which sentence of the instruction, from 0 on, is carried out at ``point``.

    A leg has two: the turn, and the way ahead. The stop belongs to the last way ahead.
    """
    return 2 * point.leg + (point.kind in (Kind.ROAD, Kind.DESTINATION))


def _eighth(heading: int) -> int:
    return COMPASS.index(compass(heading))


@lru_cache(maxsize=4096)
def walk_of(
    route: str,
    *,
    heading: int,
    seed: int,
    drop_rate: float,
    straight_line_length: int,
    panoramas: Panoramas | None,
    wrapped: bool,
) -> Walk:
    """Return the walk along a route.

    Args:
        route: As JSON text: it is hashable, and so a walk is laid out once.
        heading: Where one looks at first, in degrees.
        seed: Of the rail.
        drop_rate, straight_line_length, panoramas: See `rail`.
        wrapped: See `Walk`.
    """
    found = routes.from_json(json.loads(route))
    points = rail(found, seed=seed, drop_rate=drop_rate, straight_line_length=straight_line_length, panoramas=panoramas)
    return Walk(found, (heading, *(leg.heading for leg in found.legs)), points, wrapped)
