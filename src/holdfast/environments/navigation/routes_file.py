"""Route files in the published form, ``route_infos.json``: read, from real streets or made ones, and written.

The file is a list of two: the routes, and a number that counts them. Of a route these fields are read::

    start_place.relocated_geocode     where it starts (else start_place.geocode)
    route_results.geocode_list        one [latitude, longitude] a milestone, the destination last
    init_heading                      0 or missing means unknown: drawn from a seed
    milestone_info                    text: one brace block a milestone, a line a field
        landmarks                         "<name> is on your <side>", or "No landmark nearby";
                                          in the last block "The destination <name> is on your <side>"
        distance                          "72 meters"
        to_next_intersection_heading      "177 (south)": whole degrees, walked towards this milestone

Two keys more, ``name`` and ``city``, are written and, if present, read.

The published data comes with a pickled map of panoramas. A pickle runs code when it is loaded, so it is never opened
here; `read_panoramas` reads the same map as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from holdfast.environments.navigation.geometry import LatLng
from holdfast.environments.navigation.milestone_info import (
    NO_LANDMARK,
    NO_LANDMARKS,
    ON_YOUR,
    THE_DESTINATION,
    milestone_info,
    read_milestone_info,
)
from holdfast.environments.navigation.route import Leg, Route, place_of
from holdfast.errors import DataError

WALKING_PACE = 1.4
"""Meters a second, for the durations that the file holds and nothing here reads."""
METERS = {"": 1.0, "m": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0}
UNKNOWN_CITY = "unknown"
SHOWN = 10
"""Faulty routes that one error names."""
CONVERTER = """\
    import json, pathlib, pickle
    places = pickle.loads(pathlib.Path("gps_pano_mapping.pkl").read_bytes())
    pathlib.Path("gps_pano_mapping.json").write_text(json.dumps([[*place, name] for place, name in places.items()]))"""


class RouteFile(NamedTuple):
    """What a route file holds: its routes in order, and its counter."""

    routes: tuple[Route, ...]
    counter: float


class _Fault(Exception):
    """What is wrong with the route at hand; the caller adds file and route."""


def read_routes(path: str | Path, *, seed: int) -> RouteFile:
    """Return the routes of a published route file.

    Args:
        path: The file.
        seed: Initial headings that the file leaves unknown are drawn from it and the route's place in the file,
            uniform over 0 to 359.

    Raises:
        DataError: the file cannot be read or is not in the published form, or routes are malformed: the first ten are
            named with the field at fault.
    """
    file = Path(path)
    value = _json_of(file)
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], list)):
        raise DataError(f"{file} is not a route file: that is a list of two, [[route, ...], counter]")
    rows, counter = value
    if not _is_number(counter):
        raise DataError(f"{file}: the second entry, the counter, is {counter!r}; it must be a number")
    if not rows:
        raise DataError(f"{file} holds no routes")
    routes, faults = [], []
    for number, row in enumerate(rows):
        drawn = Random(f"initial heading {seed} {number}").randrange(360)
        try:
            routes.append(_route(row, f"route {number}", drawn))
        except (_Fault, DataError) as fault:
            faults.append(f"  route {number}{_label(row)}: {fault}")
    if faults:
        more = [f"  … and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DataError(
            "\n".join([f"{file}: {len(faults)} of {len(rows)} routes cannot be used", *faults[:SHOWN], *more])
        )
    names = [route.name for route in routes]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"{file}: the name {twice[0]!r} is given to {names.count(twice[0])} routes; names are unique")
    return RouteFile(tuple(routes), counter)


def write_routes(path: str | Path, routes: Iterable[Route]) -> None:
    """Write routes in the published form; `read_routes` gives equal ones back.

    An initial heading of 0 is written as 360, since 0 stands for "unknown" there.

    Raises:
        DataError: a name holds ``}``, at which the published reader would split.
    """
    rows = [to_published(route) for route in routes]
    Path(path).write_text(json.dumps([rows, len(rows)], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def to_published(route: Route) -> dict[str, Any]:
    """Return one route as the published file holds it, with the further keys ``name`` and ``city``."""
    names = [leg.landmark for leg in route.legs[:-1]]
    for name in (*names, route.destination):
        if name is not None and "}" in name:
            raise DataError(f"route {route.name!r}: the name {name!r} holds '}}', which splits blocks of a route file")
    end = list(route.legs[-1].end)
    meters = [leg.distance for leg in route.legs]
    return {
        "name": route.name,
        "city": route.city,
        "start_place": {"geocode": list(route.start), "relocated_geocode": list(route.start)},
        "dest_place": {"name": route.destination, "geocode": end, "relocated_geocode": end},
        "route_results": {
            "geocode_list": [list(leg.end) for leg in route.legs],
            "landmark_list": [None if name is None else {"name": name} for name in names],
            "distance": sum(meters),
            "distance_list": meters,
            "time_list": [round(one / WALKING_PACE) for one in meters],
            "polyline": "",
            "instructions": [],
            "n_landmarks": sum(name is not None for name in names),
        },
        "init_heading": route.init_heading or 360,
        "instruction": "",
        "milestone_info": milestone_info(route),
    }


def _route(row: Any, name: str, drawn_heading: int) -> Route:
    if not isinstance(row, dict):
        raise _Fault(f"is {type(row).__name__}, not an object")
    ends = [_place(end, "route_results.geocode_list") for end in _list_in(row, "route_results", "geocode_list")]
    info = _field(row, "milestone_info")
    if not isinstance(info, str):
        raise _Fault(f"milestone_info is {type(info).__name__}, not text")
    blocks = read_milestone_info(info)
    if len(blocks) != len(ends) or not blocks:
        raise _Fault(f"milestone_info has {len(blocks)} blocks and geocode_list {len(ends)} milestones; one each")
    *crossings, (last, end) = zip(blocks, ends, strict=True)
    legs = [_leg(number, block, here) for number, (block, here) in enumerate(crossings)]
    seen = _block_field(len(crossings), last, "landmarks")
    if not seen.startswith(THE_DESTINATION) or ON_YOUR not in seen:
        raise _Fault(f"the last block's landmarks is {seen!r}; it must be '{THE_DESTINATION}<name>{ON_YOUR}<side>'")
    destination, _, on = seen.removeprefix(THE_DESTINATION).rpartition(ON_YOUR)
    heading, meters = _heading(len(crossings), last), _meters(len(crossings), last)
    start = _field(row, "start_place")
    if not isinstance(start, dict):
        raise _Fault(f"start_place is {type(start).__name__}, not an object")
    return Route(
        str(row.get("name", name)),
        str(row.get("city", UNKNOWN_CITY)),
        _place(_field(start, "relocated_geocode" if "relocated_geocode" in start else "geocode"), "start_place"),
        _init_heading(row.get("init_heading"), drawn_heading),
        (*legs, Leg(heading, meters, None, None, end)),
        destination,
        on,
    )


def _leg(number: int, block: Mapping[str, str], end: LatLng) -> Leg:
    seen = _block_field(number, block, "landmarks")
    name: str | None
    side: str | None
    if seen in NO_LANDMARKS:
        name = side = None
    elif ON_YOUR in seen:
        name, _, side = seen.rpartition(ON_YOUR)
    else:
        raise _Fault(
            f"milestone_info block {number}: landmarks is {seen!r}; it must be '<name>{ON_YOUR}<side>' "
            f"or '{NO_LANDMARK}'"
        )
    try:
        return Leg(_heading(number, block), _meters(number, block), name, side, end)
    except DataError as fault:
        raise _Fault(f"milestone_info block {number}: {fault}") from fault


def _heading(number: int, block: Mapping[str, str]) -> int:
    text = _block_field(number, block, "to_next_intersection_heading")
    found = re.match(r"\s*(-?\d{1,9})(?:\.\d*)?\s*(?:\(|$)", text)
    if found is None:
        raise _Fault(
            f"milestone_info block {number}: to_next_intersection_heading is {text!r}; it must be like '177 (south)'"
        )
    return int(found[1]) % 360


def _meters(number: int, block: Mapping[str, str]) -> float:
    text = _block_field(number, block, "distance")
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d*)?(?:e[+-]?\d{1,2})?)\s*([a-z]*)\s*", text)
    if found is None or found[2] not in METERS:
        raise _Fault(f"milestone_info block {number}: distance is {text!r}; it must be like '72 meters'")
    return float(found[1]) * METERS[found[2]]


def _block_field(number: int, block: Mapping[str, str], key: str) -> str:
    if key not in block:
        raise _Fault(f"milestone_info block {number} lacks {key}; it has: {', '.join(block)}")
    return block[key]


def _init_heading(value: Any, drawn: int) -> int:
    if value is None or value == 0:
        return drawn
    if not _is_number(value) or value != int(value):
        raise _Fault(f"init_heading is {value!r}; it must be whole degrees")
    return int(value) % 360


def _list_in(row: Mapping[str, Any], outer: str, inner: str) -> Sequence[Any]:
    results = _field(row, outer)
    value = results.get(inner) if isinstance(results, dict) else None
    if not isinstance(value, list):
        raise _Fault(f"{outer}.{inner} is missing or no list")
    return value


def _field(row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise _Fault(f"lacks {key}; it has: {', '.join(map(str, row)) or 'nothing'}")
    return row[key]


def _place(value: Any, where: str) -> LatLng:
    try:
        return place_of(value)
    except DataError as fault:
        raise _Fault(f"{where}: {fault}") from fault


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _label(row: Any) -> str:
    """The destination's name, to find a route by."""
    place = row.get("dest_place") if isinstance(row, dict) else None
    name = place.get("name") if isinstance(place, dict) else None
    return f" (to {name!r})" if isinstance(name, str) else ""


def _json_of(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as fault:
        raise DataError(f"cannot read {file}: {fault.strerror or fault}") from fault
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{file} is not JSON: {fault}") from fault


def read_panoramas(path: str | Path) -> dict[LatLng, str]:
    """Return a map of panoramas, place to name, from JSON.

    Args:
        path: An object ``{"latitude,longitude": "name"}``, or a list of ``[latitude, longitude, "name"]``.

    Raises:
        DataError: the file cannot be read, is a pickle, or has another shape.
    """
    file = Path(path)
    if file.suffix.lower() in (".pkl", ".pickle") or _begins_as_pickle(file):
        raise DataError(
            f"{file} is a pickle, which can run any code when it is opened, so it was not. If you trust its source, "
            f"convert it once and name the .json:\n{CONVERTER}\nOr leave the map out: points of the road then need no "
            "panorama."
        )
    value = _json_of(file)
    rows = [[*key.split(","), name] for key, name in value.items()] if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise DataError(f"{file} holds {type(value).__name__}; write an object or a list of rows")
    found: dict[LatLng, str] = {}
    for number, row in enumerate(rows):
        try:
            latitude, longitude, name = row
            found[place_of([float(latitude), float(longitude)])] = str(name)
        except (TypeError, ValueError, DataError) as fault:
            raise DataError(
                f'{file}: entry {number} is {row!r} ({fault}); write [latitude, longitude, "name"] or '
                '"latitude,longitude": "name"'
            ) from fault
    return found


def _begins_as_pickle(file: Path) -> bool:
    """Whether the first byte is the one that pickles of protocol 2 and later begin with, and no JSON does."""
    try:
        with file.open("rb") as stream:
            return stream.read(1) == b"\x80"
    except OSError:
        return False  # reading it will say why
