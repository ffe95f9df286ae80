"""Made cities: a planar graph of streets, named places along them, and the routes that are dealt in it.

A city is a pure function of (style, home, number). Its *home* is the split it belongs to, so that no city, and no name
of a place, is in two splits; ``test`` routes lie in cities of ``recall`` and ``compose``. Cities of the further home
``pretrain`` are for base models: their names are those of ``train`` and ``recall``.

A route walks from crossing to crossing. Every crossing it meets is a milestone, where at least three streets meet, so
"until you reach next intersection" says exactly where a leg ends. At a milestone it turns by more than 30 degrees; or,
now and then, it goes on nearly straight, and then a landmark is announced there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import cos, pi, sin
from random import Random
from typing import NamedTuple

from holdfast.environments.base import SPLITS
from holdfast.environments.navigation.geometry import LatLng, Plane, difference, length, plane_heading, side
from holdfast.environments.navigation.names import draw_names
from holdfast.environments.navigation.route import Leg, Route
from holdfast.environments.navigation.street_plans import SNAPPED_STYLES, STYLES, Edge, Spot, thinned
from holdfast.errors import UnknownName, UserError

HOMES = {"train": 24, "validation": 8, "recall": 12, "compose": 12, "pretrain": 24}
"""Cities of each style, by the split they belong to."""
NAME_POOLS = {"pretrain": ("train", "recall")}
"""Homes whose names are not those of the pool of the same name."""
STRAIGHT = 30
"""Degrees; a change of heading up to this goes on straight."""
FEWEST, MOST = 2, 10
"""Milestones of a route, its destination among them."""
COORDINATE_DIGITS = 6
"""About a decimeter."""
TRIALS = 1000


class Street(NamedTuple):
    """One direction of a block.

    Attributes:
        begin, end: Crossings.
        heading: Whole degrees.
        meters: Length.
        legs: The leg that walks it, first without landmark, then with each landmark at its end.
        turns: Streets that one can turn into at its end, by number.
        straights: Streets at its end that go on straight, by number.
        stops: The leg that ends at a place along it, that place's name and side.
    """

    begin: int
    end: int
    heading: int
    meters: float
    legs: tuple[Leg, ...]
    turns: tuple[int, ...]
    straights: tuple[int, ...]
    stops: tuple[tuple[Leg, str, str], ...]


@dataclass(frozen=True)
class City:
    """A made city.

    Attributes:
        name: ``<style>-<home>-<number>``, unique.
        plane: Where on Earth it is said to lie.
        crossings: Position of each crossing.
        blocks: Pairs of crossings that a street joins; no two blocks cross.
        places: Names of all places, each once.
        streets: Both directions of every block.
    """

    name: str
    plane: Plane
    crossings: tuple[Spot, ...]
    blocks: tuple[Edge, ...]
    places: tuple[str, ...]
    streets: tuple[Street, ...]

    def at(self, spot: Spot) -> LatLng:
        """Return the coordinates of a spot, rounded as routes hold them."""
        latitude, longitude = self.plane.place(*spot)
        return round(latitude, COORDINATE_DIGITS), round(longitude, COORDINATE_DIGITS)


@lru_cache(maxsize=1024)
def city(style: str, home: str, number: int) -> City:
    """Return a city: a pure function of its arguments.

    Raises:
        UnknownName: no such style or home.
    """
    if style not in STYLES:
        raise UnknownName("city style", style, STYLES)
    if home not in HOMES:
        raise UnknownName("home of cities", home, HOMES)
    name = f"{style}-{home}-{number}"
    rng = Random(f"city {name}")
    crossings, blocks = thinned(STYLES[style](rng), rng)
    latitude = rng.choice((-1, 1)) * rng.uniform(5, 55)
    plane = Plane((round(latitude, 4), round(rng.uniform(-170, 170), 4)))
    corners, roadsides = _corners(crossings, blocks, rng), _roadsides(crossings, blocks, rng)
    many = sum(map(len, corners)) + sum(map(len, roadsides))
    places = tuple(draw_names(NAME_POOLS.get(home, (home,)), many, rng))
    bare = City(name, plane, tuple(crossings), tuple(blocks), places, ())
    return City(name, plane, bare.crossings, bare.blocks, places, _streets(bare, corners, roadsides))


def _corners(crossings: list[Spot], blocks: list[Edge], rng: Random) -> list[list[Spot]]:
    """Return where the places at each crossing are: between two streets, at most 17 m away."""
    leaving: list[list[float]] = [[] for _ in crossings]
    for a, b in blocks:
        (x_a, y_a), (x_b, y_b) = crossings[a], crossings[b]
        leaving[a].append(plane_heading(x_b - x_a, y_b - y_a))
        leaving[b].append(plane_heading(x_a - x_b, y_a - y_b))
    corners = []
    for (x, y), headings in zip(crossings, leaving, strict=True):
        headings.sort()
        sectors = list(pairwise([*headings, headings[0] + 360]))
        chosen = rng.sample(sectors, min(rng.choices((0, 1, 2), (15, 55, 30))[0], len(sectors)))
        spots = []
        for low, high in chosen:
            along = (low + (high - low) * rng.uniform(0.35, 0.65)) / 180 * pi
            away = rng.uniform(9, 17)
            spots.append((x + away * sin(along), y + away * cos(along)))
        corners.append(spots)
    return corners


class _Roadside(NamedTuple):
    """A place along a block: how far from its first crossing one stops for it, and where it is."""

    meters: float
    spot: Spot


def _roadsides(crossings: list[Spot], blocks: list[Edge], rng: Random) -> list[list[_Roadside]]:
    """Return the places along each block."""
    found = []
    for a, b in blocks:
        (x_a, y_a), (x_b, y_b) = crossings[a], crossings[b]
        meters = length(x_b - x_a, y_b - y_a)
        east, north = (x_b - x_a) / meters, (y_b - y_a) / meters
        row = []
        for _ in range(rng.choices((0, 1), (10, 90))[0]):
            stop = meters * rng.uniform(0.35, 0.65)
            along, off = stop + rng.uniform(-8, 8), rng.choice((-1, 1)) * rng.uniform(8, 13)
            row.append(_Roadside(stop, (x_a + along * east + off * north, y_a + along * north - off * east)))
        found.append(row)
    return found


def _streets(bare: City, corners: list[list[Spot]], roadsides: list[list[_Roadside]]) -> tuple[Street, ...]:
    """Return both directions of every block, with all that a route may say of it."""
    names = iter(bare.places)
    corner_names = [[next(names) for _ in spots] for spots in corners]
    roadside_names = [[next(names) for _ in row] for row in roadsides]
    degree = [0] * len(bare.crossings)
    leaving: list[list[int]] = [[] for _ in bare.crossings]
    ways: list[Edge] = []
    headings: list[int] = []
    for a, b in bare.blocks:
        for begin, end in ((a, b), (b, a)):
            leaving[begin].append(len(ways))
            degree[begin] += 1
            ways.append((begin, end))
            headings.append(round(plane_heading(*_step(bare.crossings[begin], bare.crossings[end]))) % 360)
    streets = []
    for number, (begin, end) in enumerate(ways):
        here, there, heading = bare.crossings[begin], bare.crossings[end], headings[number]
        meters = length(*_step(here, there))
        arrival = bare.at(there)
        legs = [Leg(heading, float(round(meters)), None, None, arrival)]
        for name, spot in zip(corner_names[end], corners[end], strict=True):
            on = side(plane_heading(*_step(there, spot)), heading)
            legs.append(Leg(heading, float(round(meters)), name, on, arrival))
        onward = [way for way in leaving[end] if ways[way][1] != begin] if degree[end] > 2 else []
        straight = {way for way in onward if abs(difference(heading, headings[way])) <= STRAIGHT}
        stops = []
        for name, place in zip(roadside_names[number // 2], roadsides[number // 2], strict=True):
            walked = place.meters if number % 2 == 0 else meters - place.meters
            stops.append(_stop(bare, here, there, walked, heading, name, place.spot))
        turns = tuple(way for way in onward if way not in straight)
        streets.append(Street(begin, end, heading, meters, tuple(legs), turns, tuple(sorted(straight)), tuple(stops)))
    return tuple(streets)


def _stop(
    bare: City, here: Spot, there: Spot, walked: float, heading: int, name: str, spot: Spot
) -> tuple[Leg, str, str]:
    """Return the leg from a crossing to a place along the street, with the place's name and side."""
    end = _along(here, there, walked / length(*_step(here, there)))
    on = side(plane_heading(*_step(end, spot)), heading)
    return Leg(heading, float(round(walked)), None, None, bare.at(end)), name, on


def _step(a: Spot, b: Spot) -> Spot:
    return b[0] - a[0], b[1] - a[1]


def _along(a: Spot, b: Spot, fraction: float) -> Spot:
    return a[0] + fraction * (b[0] - a[0]), a[1] + fraction * (b[1] - a[1])


def deal(
    split: str,
    index: int,
    *,
    seed: int,
    milestones: tuple[int, int] = (2, 5),
    styles: tuple[str, ...] = tuple(STYLES),
    snapped: bool = False,
    landmark_share: float = 0.6,
    straight_share: float = 0.1,
) -> Route:
    """Return route number ``index`` of a split: a pure function of its arguments.

    Distances are whole meters and coordinates have six decimals, so a leg's end lies within 3 m of where its heading
    and distance lead. The initial heading is never 0, which route files use for "unknown".

    Args:
        split: ``train``, ``validation``, ``test``, ``recall``, ``compose``, or ``pretrain``.
        index: No upper bound.
        seed: Which walks are dealt; the cities do not depend on it.
        milestones: Fewest and most milestones, the destination among them; uniform between.
        styles: Styles of city, each equally likely.
        snapped: Only multiples of 45 degrees for headings; cities are then of `SNAPPED_STYLES` alone.
        landmark_share: Chance that a milestone with a place nearby announces it; where the route goes straight on, it
            always does.
        straight_share: Chance to go straight on at a milestone that allows it.

    Raises:
        UnknownName: no such split or style.
        UserError: the options leave no route.
    """
    _check(split, milestones, styles, snapped, landmark_share, straight_share)
    rng = Random(f"route {seed} {split} {index}")
    home = rng.choice(("recall", "compose")) if split == "test" else split
    allowed = [style for style in styles if style in SNAPPED_STYLES] if snapped else styles
    found = city(rng.choice(allowed), home, rng.randrange(HOMES[home]))
    many = rng.randint(*milestones)
    first, legs, (last, destination, on) = _walk(found, rng, many, landmark_share, straight_share)
    street = found.streets[first]
    here, there = found.crossings[street.begin], found.crossings[street.end]
    walked = min(rng.uniform(40, 150), street.meters - 10)
    start = found.at(_along(there, here, walked / street.meters))
    legs[0] = Leg(street.heading, float(round(walked)), legs[0].landmark, legs[0].side, legs[0].end)
    looking = 45 * rng.randrange(1, 8) if snapped else rng.randrange(1, 360)
    return Route(f"{found.name}/{split}-{seed}-{index}", found.name, start, looking, (*legs, last), destination, on)


def _check(
    split: str,
    milestones: tuple[int, int],
    styles: tuple[str, ...],
    snapped: bool,
    landmark_share: float,
    straight_share: float,
) -> None:
    if split not in SPLITS and split not in HOMES:
        raise UnknownName("split", split, {*SPLITS, *HOMES})
    if len(milestones) != 2 or not FEWEST <= milestones[0] <= milestones[1] <= MOST:
        raise UserError(f"milestones is {milestones!r}; it must be fewest and most, from {FEWEST} to {MOST}")
    for style in styles:
        if style not in STYLES:
            raise UnknownName("city style", style, STYLES)
    if not styles or (snapped and not set(styles) & set(SNAPPED_STYLES)):
        raise UserError(
            f"styles is {styles!r}; name at least one of {', '.join(SNAPPED_STYLES if snapped else STYLES)}"
        )
    for what, share in (("landmark_share", landmark_share), ("straight_share", straight_share)):
        if not 0 <= share <= 1:
            raise UserError(f"{what} is {share!r}; it must be a probability, 0 to 1")


def _walk(
    found: City, rng: Random, many: int, landmark_share: float, straight_share: float
) -> tuple[int, list[Leg], tuple[Leg, str, str]]:
    """Return the first street, the legs to ``many`` − 1 crossings, none met twice, and the last leg with its place."""
    streets = found.streets
    for _ in range(TRIALS):
        first = way = rng.randrange(len(streets))
        seen = {streets[way].begin}
        legs: list[Leg] = []
        while len(legs) < many - 1:
            street = streets[way]
            if street.end in seen:
                break
            seen.add(street.end)
            onward, announced = street.turns, rng.random() < landmark_share
            if street.straights and len(street.legs) > 1 and rng.random() < straight_share:
                onward, announced = street.straights, True
            if not onward:
                break
            legs.append(rng.choice(street.legs[1:]) if announced and len(street.legs) > 1 else street.legs[0])
            way = onward[int(rng.random() * len(onward))]
        else:
            if streets[way].stops and streets[way].end not in seen:
                return first, legs, rng.choice(streets[way].stops)
    raise UserError(f"city {found.name} has no walk of {many} milestones; ask for fewer")
