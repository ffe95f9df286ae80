"""Directions and positions: headings in degrees clockwise from north, coordinates as (latitude, longitude).

Relations of two headings are needed in four wordings, one function each: `turn` (the published four words), `turn_8`,
`clock` and, for places, `side`.

Distances are on a sphere of the Earth's mean radius, at most 0.6 % off the ellipsoid; nothing here depends on more.
"""

from __future__ import annotations

from math import asin, atan2, cos, degrees, floor, hypot, radians, sin, sqrt
from typing import NamedTuple

LatLng = tuple[float, float]
"""Latitude and longitude in degrees."""

COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
"""Compass words at 0, 45, ... 315 degrees."""

SIDES = ("front", "right front", "right", "right behind", "behind", "left behind", "left", "left front")
"""Where a place can be, at 0, 45, ... 315 degrees clockwise from where one looks."""

TURNS = ("left", "right", "slightly left", "slightly right")
"""The published relative words."""

TURNS_8 = ("straight", "slightly right", "right", "sharp right", "around", "sharp left", "left", "slightly left")
"""Relative words at 0, 45, ... 315 degrees clockwise."""

EARTH_RADIUS = 6_371_008.8
"""Meters."""


def compass(heading: int) -> str:
    """Return the nearest of the eight compass words. Whole degrees are never halfway between two.

    Example:
        >>> compass(22), compass(23), compass(-1)
        ('north', 'northeast', 'north')
    """
    return COMPASS[_eighth(heading)]


def side(bearing_deg: float, arrival_heading: float) -> str:
    """Return on which of the eight sides a place lies.

    Args:
        bearing_deg: Direction from the walker to the place.
        arrival_heading: Where the walker looks.

    Example:
        >>> side(90, 0), side(300, 0)
        ('right', 'left front')
    """
    return SIDES[_eighth(bearing_deg - arrival_heading)]


def difference(before: float, after: float) -> float:
    """Return ``after`` − ``before`` modulo 360, in (−180, 180]: positive is clockwise, to the right.

    Example:
        >>> difference(350, 10), difference(0, 180), difference(180, 0)
        (20, 180, 180)
    """
    apart = (after - before) % 360
    return apart - 360 if apart > 180 else apart


def turn(before: int, after: int, *, wrapped: bool) -> str:
    """Return the published relative word for turning from heading ``before`` to ``after``.

    With d = ``after`` − ``before``: ``left`` if d < −45, ``slightly left`` if −45 ≤ d ≤ 0, ``slightly right`` if
    0 < d ≤ 45, ``right`` if d > 45.

    Args:
        before, after: Headings.
        wrapped: Take d modulo 360 into (−180, 180]. The published data does not: there a quarter of all turns of 90
            degrees, those across north, are named after the wrong side.

    Example:
        >>> turn(315, 45, wrapped=True), turn(315, 45, wrapped=False)
        ('right', 'left')
    """
    apart = difference(before, after) if wrapped else after - before
    if apart < -45:
        return "left"
    if apart > 45:
        return "right"
    return "slightly right" if apart > 0 else "slightly left"


def turn_8(before: int, after: int) -> str:
    """Return the nearest of the eight relative words, ``straight`` and ``around`` among them.

    Example:
        >>> turn_8(350, 5), turn_8(0, 180), turn_8(0, 225)
        ('straight', 'around', 'sharp left')
    """
    return TURNS_8[_eighth(after - before)]


def clock(before: int, after: int) -> int:
    """Return the direction of ``after`` as an hour: 12 is straight ahead, 3 to the right, 6 behind, 9 to the left.

    Example:
        >>> clock(90, 90), clock(90, 180), clock(350, 5)
        (12, 3, 1)
    """
    return floor(((after - before) % 360 + 15) / 30) % 12 or 12


def _eighth(angle: float) -> int:
    """Number of the nearest multiple of 45 degrees; halfway counts clockwise."""
    return floor((angle % 360 + 22.5) / 45) % 8


def distance(a: LatLng, b: LatLng) -> float:
    """Return the meters between two points, along the sphere."""
    north = radians(b[0] - a[0])
    east = radians(b[1] - a[1])
    chord = sin(north / 2) ** 2 + cos(radians(a[0])) * cos(radians(b[0])) * sin(east / 2) ** 2
    return 2 * EARTH_RADIUS * asin(min(1.0, sqrt(chord)))


def bearing(a: LatLng, b: LatLng) -> float:
    """Return the direction from ``a`` to ``b`` in degrees, in [0, 360); 0 if they coincide."""
    north_a, north_b, east = radians(a[0]), radians(b[0]), radians(b[1] - a[1])
    across = sin(east) * cos(north_b)
    ahead = cos(north_a) * sin(north_b) - sin(north_a) * cos(north_b) * cos(east)
    return degrees(atan2(across, ahead)) % 360


def between(a: LatLng, b: LatLng, fraction: float) -> LatLng:
    """Return the point at ``fraction`` of the way from ``a`` (0) to ``b`` (1).

    Linear in latitude and longitude, the shorter way around: for points of one city, not of two continents.
    """
    east = difference(a[1], b[1])
    longitude = a[1] + fraction * east
    return a[0] + fraction * (b[0] - a[0]), (longitude + 180) % 360 - 180 if abs(longitude) > 180 else longitude


def plane_heading(east: float, north: float) -> float:
    """Return the heading of a step of ``east`` and ``north`` meters, in [0, 360)."""
    return degrees(atan2(east, north)) % 360


class Plane(NamedTuple):
    """The tangent plane at a point: meters east and north of it. Good for a few kilometers, away from the poles."""

    origin: LatLng

    def place(self, east: float, north: float) -> LatLng:
        """Return the coordinates of a point of the plane."""
        latitude, longitude = self.origin
        per_degree = radians(1) * EARTH_RADIUS
        return latitude + north / per_degree, longitude + east / (per_degree * cos(radians(latitude)))

    def position(self, place: LatLng) -> tuple[float, float]:
        """Return meters east and north of the origin: the inverse of `place`."""
        per_degree = radians(1) * EARTH_RADIUS
        east = difference(self.origin[1], place[1]) * per_degree * cos(radians(self.origin[0]))
        return east, (place[0] - self.origin[0]) * per_degree


def length(east: float, north: float) -> float:
    """Return the meters of a step on the plane."""
    return hypot(east, north)
