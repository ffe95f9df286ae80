"""Which routes of a route file belong to training, validation and test.

A stable hash of the route, without its name, decides, so that a route keeps its split when the file grows or is sorted
anew. Routes of real streets overlap: two splits share corners and shops, though no route.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import sha256

from holdfast.environments.navigation.rail import Panoramas
from holdfast.environments.navigation.route import Route, to_json
from holdfast.environments.navigation.routes_file import read_panoramas, read_routes
from holdfast.errors import UserError

SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}


def split_of(route: Route) -> str:
    """Return the split of a route."""
    place = _hash(route) / (1 << 64)
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"


@lru_cache(maxsize=64)
def routes_of_split(path: str, split: str) -> tuple[Route, ...]:
    """Return the routes of a file that belong to ``split``, in an order that the hash fixes.

    Initial headings that the file leaves unknown are drawn once for each place in the file.

    Raises:
        UserError: the split is one of ``recall`` and ``compose``, or no route belongs to it.
        DataError: the file cannot be used.
    """
    if split not in SHARES:
        raise UserError(
            f"split {split!r} parts the test routes by whether a base has seen their names, which is known of made "
            f"routes alone; of the routes of {path} ask one of: {', '.join(SHARES)}"
        )
    routes = read_routes(path, seed=0).routes
    found = sorted((route for route in routes if split_of(route) == split), key=_hash)
    if not found:
        raise UserError(f"none of the {len(routes)} routes of {path} belongs to the split {split!r}; add routes")
    return tuple(found)


@lru_cache(maxsize=16)
def panoramas_of(path: str) -> Panoramas:
    """Return the panoramas of a file; see `read_panoramas`."""
    return Panoramas(read_panoramas(path))


@lru_cache(maxsize=65536)
def _hash(route: Route) -> int:
    value = to_json(route)
    del value["name"]
    return int.from_bytes(sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8], "big")
