"""A route: what is known of a walk, whatever city, real or made, it was taken from.

::

    start --- leg 0 ---> milestone 0 --- leg 1 ---> milestone 1 ... --- last leg ---> destination

A leg is: turn to a heading, then walk to the milestone at its end. All milestones but the last are intersections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from holdfast.environments.navigation.geometry import SIDES, LatLng
from holdfast.errors import DataError


@dataclass(frozen=True)
class Leg:
    """Turn to ``heading`` and walk ``distance`` meters to the milestone at ``end``.

    Attributes:
        heading: Whole degrees clockwise from north, 0 to 359.
        distance: Meters.
        landmark: Name of a place at the milestone; None if none is announced.
        side: On which of `SIDES` the landmark is when one arrives, looking along ``heading``; None without landmark.
        end: Where the milestone is.
    """

    heading: int
    distance: float
    landmark: str | None
    side: str | None
    end: LatLng

    def __post_init__(self) -> None:
        _check_heading("heading", self.heading)
        if not (isfinite(self.distance) and self.distance >= 0):
            raise DataError(f"a leg's distance is {self.distance!r}; it must be meters, 0 or more")
        if (self.landmark is None) != (self.side is None):
            raise DataError(f"a leg has landmark {self.landmark!r} and side {self.side!r}; give both or neither")
        if self.landmark is not None and self.side is not None:
            _check_name("landmark", self.landmark)
            _check_side("side", self.side)


@dataclass(frozen=True)
class Route:
    """A walk from a start to a destination.

    Attributes:
        name: Unique among the routes it comes with.
        city: Where it lies; routes of one city share streets and names.
        start: Where one stands at first.
        init_heading: Where one looks at first, whole degrees, 0 to 359.
        legs: At least one; the last ends at the destination and announces no landmark but that.
        destination: Name of the place sought.
        destination_side: On which of `SIDES` it is when one arrives.
    """

    name: str
    city: str
    start: LatLng
    init_heading: int
    legs: tuple[Leg, ...]
    destination: str
    destination_side: str

    def __post_init__(self) -> None:
        _check_name("a route's name", self.name)
        _check_name("a route's city", self.city)
        if not self.legs:
            raise DataError(f"route {self.name!r} has no legs; it needs at least the one to its destination")
        if self.legs[-1].landmark is not None:
            raise DataError(
                f"route {self.name!r}: the last leg announces the landmark {self.legs[-1].landmark!r}; "
                "it ends at the destination, which is announced by itself"
            )
        _check_heading("init_heading", self.init_heading)
        _check_name("destination", self.destination)
        _check_side("destination_side", self.destination_side)

    def heading_before(self, leg: int) -> int:
        """Return where one looks before the turn of leg number ``leg``."""
        return self.legs[leg - 1].heading if leg else self.init_heading

    def beginning(self, leg: int) -> LatLng:
        """Return where leg number ``leg`` begins."""
        return self.legs[leg - 1].end if leg else self.start


def to_json(route: Route) -> dict[str, Any]:
    """Return plain JSON values from which `from_json` makes an equal route."""
    return {
        "name": route.name,
        "city": route.city,
        "start": list(route.start),
        "heading": route.init_heading,
        "legs": [[leg.heading, leg.distance, leg.landmark, leg.side, list(leg.end)] for leg in route.legs],
        "destination": route.destination,
        "side": route.destination_side,
    }


def from_json(value: Mapping[str, Any]) -> Route:
    """Return the route that `to_json` wrote.

    Raises:
        DataError: a field is missing or has an impossible value.
    """
    try:
        return Route(
            value["name"],
            value["city"],
            place_of(value["start"]),
            value["heading"],
            tuple(Leg(heading, meters, name, on, place_of(end)) for heading, meters, name, on, end in value["legs"]),
            value["destination"],
            value["side"],
        )
    except KeyError as fault:
        raise DataError(f"a route lacks the field {fault}; its fields are: {', '.join(map(str, value))}") from fault
    except (TypeError, ValueError) as fault:
        raise DataError(f"a route has a field of the wrong shape ({fault}): {value!r}"[:500]) from fault


def place_of(value: Any) -> LatLng:
    """Return the coordinates that a JSON list ``[latitude, longitude]`` holds.

    Raises:
        DataError: it holds anything else.
    """
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(type(one) in (int, float) for one in value)):
        raise DataError(f"{value!r} is no place; write [latitude, longitude]")
    latitude, longitude = value
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise DataError(f"{value!r} is no place: latitude is at most 90 degrees, longitude at most 180")
    return float(latitude), float(longitude)


def _check_heading(what: str, value: int) -> None:
    if type(value) is not int or not 0 <= value < 360:
        raise DataError(f"{what} is {value!r}; it must be whole degrees, 0 to 359")


def _check_name(what: str, value: str) -> None:
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise DataError(f"{what} is {value!r}; it must be one line of text")


def _check_side(what: str, value: str) -> None:
    if value not in SIDES:
        raise DataError(f"{what} is {value!r}; it must be one of: {', '.join(SIDES)}")
