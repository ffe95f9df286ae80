"""Names of places, made of a closed list of words: ``Maple Bakery``, ``Old Maple Bakery``.

A name is a proper word and a kind of place, at times with a quality before them. Which *pool* it belongs to depends on
proper word and kind alone, by a stable hash. So no pair of them is in two pools, while every word occurs in all.

========== ===== =======================================================================
pool       share for
========== ===== =======================================================================
train      50 %  cities of training; a base may have seen them
recall     20 %  test cities whose names a base may have seen
compose    20 %  test cities whose names join words that are joined nowhere else
validation 10 %  cities of validation
========== ===== =======================================================================

No word names a direction, a turn or a crossing, so that a judge that looks for such words finds none in a name.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from random import Random

from holdfast.errors import UnknownName, UserError

QUALITIES = ("Old", "New", "Little", "Grand", "Red", "Blue", "Green", "Golden", "Silver", "Quiet", "Happy", "Lucky")

PROPER = (
    "Acorn", "Amber", "Anchor", "Aspen", "Badger", "Beacon", "Birch", "Bramble", "Canyon", "Cedar", "Cherry", "Clover",
    "Comet", "Copper", "Coral", "Crane", "Cypress", "Daisy", "Dolphin", "Ember", "Falcon", "Feather", "Fern", "Fiddle",
    "Finch", "Garnet", "Ginger", "Granite", "Harbor", "Hazel", "Heron", "Holly", "Island", "Ivory", "Ivy", "Jasmine",
    "Juniper", "Kettle", "Lantern", "Laurel", "Lemon", "Lilac", "Linden", "Lotus", "Magnolia", "Maple", "Marble",
    "Meadow", "Mirror", "Nutmeg", "Oak", "Olive", "Orchid", "Otter", "Owl", "Pebble", "Pepper", "Pine", "Plum",
    "Poppy", "Quartz", "Raven", "River", "Robin", "Saffron", "Sparrow", "Spruce", "Thistle", "Tulip", "Velvet",
    "Violet", "Walnut", "Willow", "Wren",
)  # fmt: skip

KINDS = (
    "Academy", "Aquarium", "Arcade", "Bakery", "Bank", "Barber", "Bistro", "Bookshop", "Boutique", "Brewery", "Cafe",
    "Chapel", "Cinema", "Clinic", "Club", "College", "Creamery", "Deli", "Diner", "Dentist", "Embassy", "Florist",
    "Fountain", "Gallery", "Garage", "Garden", "Grill", "Grocery", "Gym", "Hostel", "Hotel", "Inn", "Jeweler",
    "Kitchen", "Laundry", "Library", "Market", "Monument", "Museum", "Optician", "Palace", "Park", "Pharmacy",
    "Pizzeria", "School", "Spa", "Stadium", "Studio", "Tailor", "Tavern", "Theater", "Tower", "Workshop",
)  # fmt: skip

POOLS = {"train": 10, "recall": 4, "compose": 4, "validation": 2}
"""Twentieths of all pairs of proper word and kind."""
QUALITY_SHARE = 0.3
TWENTIETHS = 20


def name_words() -> tuple[str, ...]:
    """Return every word that a name can hold, once each, for tokenizers made of words."""
    return (*QUALITIES, *PROPER, *KINDS)


def pool_of(name: str) -> str:
    """Return the pool of a made name.

    Raises:
        UserError: ``name`` is not made of the words listed here.

    Example:
        >>> pool_of("Old Maple Bakery") == pool_of("Maple Bakery")
        True
    """
    words = name.split(" ")
    if len(words) == 3 and words[0] in QUALITIES:
        words = words[1:]
    if len(words) != 2 or words[0] not in PROPER or words[1] not in KINDS:
        raise UserError(f"{name!r} is not a made name; those are [quality] proper word, kind, as in 'Maple Bakery'")
    return _pool(words[0], words[1])


def _pool(proper: str, kind: str) -> str:
    place = int.from_bytes(sha256(f"name: {proper} {kind}".encode()).digest()[:8], "big") % TWENTIETHS
    for pool, share in POOLS.items():
        if place < share:
            return pool
        place -= share
    raise AssertionError("the shares of POOLS do not add up")


@cache
def pairs(pool: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of proper word and kind of a pool.

    Raises:
        UnknownName: no such pool.
    """
    if pool not in POOLS:
        raise UnknownName("name pool", pool, POOLS)
    return tuple((proper, kind) for proper in PROPER for kind in KINDS if _pool(proper, kind) == pool)


def draw_names(pools: tuple[str, ...], many: int, rng: Random) -> list[str]:
    """Return ``many`` names of the pools, no pair of proper word and kind twice.

    Raises:
        UserError: the pools hold fewer pairs.
    """
    known = [pair for pool in pools for pair in pairs(pool)]
    if many > len(known):
        raise UserError(f"{many} names are asked of the pools {', '.join(pools)}, which hold {len(known)}")
    return [
        f"{rng.choice(QUALITIES)} {proper} {kind}" if rng.random() < QUALITY_SHARE else f"{proper} {kind}"
        for proper, kind in rng.sample(known, many)
    ]
