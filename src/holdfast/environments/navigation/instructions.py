"""The instruction of a route, and what is seen at its points.

Each leg has two sentences: the turn, and the way to its end. Four styles differ in what a turn is told by:

============  =====================================================================================
``both``      the published sentence: the coarse word and the compass word, ``Turn left to face north.``
``absolute``  the compass word alone
``relative``  the side alone: the published four words under the rule ``relative``, else one of eight
``landmark``  a sight to turn to; on which side it lies is observed, among others, where one turns
============  =====================================================================================

Where a rule asks for words that the style does not say, they can be worked out: the compass from a side and from where
one faces, and the other way round. One faces the way of the last turn, and where one faces at first is then told in a
line of its own at the head of the instruction.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from random import Random
from typing import NamedTuple

from holdfast.environments.navigation.geometry import COMPASS, SIDES
from holdfast.environments.navigation.rail import Kind, Point
from holdfast.environments.navigation.rules import Frame, Rule, Turn
from holdfast.environments.navigation.walk import Walk

INSTRUCTIONS = ("both", "absolute", "relative", "landmark")

SIGHTS = (
    "the tower", "the fountain", "the old tree", "the red house", "the statue", "the bus stop", "the church",
    "the gate", "the water", "the flags", "the hill", "the white wall",
)  # fmt: skip
"""What one can be told to turn to. At each turn three of them are seen."""


class Sight(NamedTuple):
    """Something seen on one of ``SIDES``."""

    name: str
    side: str


def stated_frames(style: str, rule: Rule) -> tuple[Frame, ...]:
    """Return the frames whose words the instruction of a style says or shows."""
    if style == "both":
        return (Frame.COMPASS, Frame.COARSE)
    if style == "absolute":
        return (Frame.COMPASS,)
    if style == "relative":
        return (Frame.COARSE,) if rule.frame is Frame.COARSE else (Frame.VIEW,)
    return (Frame.VIEW, Frame.COARSE)


def tells_facing(style: str, rule: Rule) -> bool:
    """Return whether the instruction has to tell where one faces at first."""
    return rule.frame not in stated_frames(style, rule)


def turn_of(walk: Walk, leg: int, style: str) -> Turn:
    """Return the turn of ``leg`` as the instruction gives it to be understood."""
    return walk.turn(leg, rounded=style not in ("both", "relative"))


@lru_cache(maxsize=16384)
def sights(route: str, leg: int, view: int) -> tuple[Sight, ...]:
    """Return what is seen at the turn of ``leg`` in the style ``landmark``, in the order in which it is told.

    Args:
        route: Name of the route.
        leg: From 0 on.
        view: Side of the way to take, in eighths of a full turn.
    """
    rng = Random(int.from_bytes(sha256(f"sights {route} {leg} {view}".encode()).digest()[:16], "big"))
    names = rng.sample(SIGHTS, 3)
    sides = [view, *rng.sample([other for other in range(8) if other != view], 2)]
    seen = [Sight(name, SIDES[side]) for name, side in zip(names, sides, strict=True)]
    rng.shuffle(seen)
    return tuple(seen)


def sentences(walk: Walk, style: str, rule: Rule) -> tuple[str, ...]:
    """Return the sentences of the instruction, two a leg."""
    told = []
    for number, leg in enumerate(walk.route.legs):
        told.append(_turn_sentence(walk, number, style, rule))
        if number == len(walk.route.legs) - 1:
            place = f" destination where The destination {walk.route.destination} is on your "
            told.append(f"Move forward until you reach{place}{walk.route.destination_side}.")
        elif leg.landmark is None:
            told.append("Move forward until you reach next intersection.")
        else:
            told.append(f"Move forward until you reach next intersection where {leg.landmark} is on your {leg.side}.")
    return tuple(told)


def _turn_sentence(walk: Walk, leg: int, style: str, rule: Rule) -> str:
    turn = turn_of(walk, leg, style)
    if style == "both":
        told = f"{turn.coarse} to face {COMPASS[turn.after]}"
    elif style == "absolute":
        told = f"to face {COMPASS[turn.after]}"
    elif style == "landmark":
        told = f"toward {_goal(walk, leg, turn)}"
    elif rule.frame is Frame.COARSE:
        told = turn.coarse
    else:
        told = f"to your {SIDES[turn.view]}"
    return f"{'First, turn' if leg == 0 else 'Turn'} {told}."


def _goal(walk: Walk, leg: int, turn: Turn) -> str:
    seen = sights(walk.route.name, leg, turn.view)
    return next(sight.name for sight in seen if sight.side == SIDES[turn.view])


def instruction_text(walk: Walk, style: str, rule: Rule) -> str:
    """Return the whole instruction: numbered lines, and before them, where it is needed, where one faces at first."""
    told = "".join(f"{number}. {text}\n" for number, text in enumerate(sentences(walk, style, rule), 1))
    return f"You start facing {walk.facing}.\n{told}" if tells_facing(style, rule) else told


def observation(walk: Walk, point: Point, style: str) -> str:
    """Return what is seen at ``point``, as published; in the style ``landmark`` the sights follow the landmark."""
    return f"{', '.join((point.landmark_text, *_seen(walk, point, style)))}; {point.intersection_text}"


def short_observation(walk: Walk, point: Point, style: str) -> str:
    """Return what is seen at ``point`` in few words."""
    place = () if point.landmark is None else (f"{point.landmark} is on your {point.side}",)
    return ", ".join((point.kind.value, *place, *_seen(walk, point, style)))


def _seen(walk: Walk, point: Point, style: str) -> tuple[str, ...]:
    if style != "landmark" or point.kind not in (Kind.START, Kind.INTERSECTION):
        return ()
    view = turn_of(walk, point.leg, style).view
    return tuple(f"{name} is on your {side}" for name, side in sights(walk.route.name, point.leg, view))
