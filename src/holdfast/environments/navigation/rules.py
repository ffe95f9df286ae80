"""The rules of the navigation game as data: the words in which a turn is said.

Moving on is always ``forward()`` and arriving always ``stop()``. A turn is ``turn_direction(x)``, and the rule says
what may stand for ``x``:

===============  ==========================================================================================
``absolute``     one of the eight compass words, ``north`` to ``northwest`` (published; the training rule)
``relative``     ``left``, ``right``, ``slightly left`` or ``slightly right`` (published)
``relative_8``   one of eight sides as seen from where one faces, ``front`` to ``left front``
``clock``        the same eight sides on the face of a clock: ``12:00`` is ahead, ``3:00`` to the right
``degrees``      the compass in degrees clockwise from north, in steps of 45
``tokens_<k>``   one of eight random words for the eight compass words; ``k`` is the seed of the assignment
===============  ==========================================================================================

Headings are rounded to the eight compass directions before a fine word is chosen, so that what the words of one prompt
say always fits together. Only the published four words are cut from the headings in degrees, as published, where the
instruction says them. They have none for straight on, which is ``slightly left``, nor for turning around, ``right``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import sha256
from random import Random
from typing import NamedTuple

from holdfast.environments.navigation.geometry import COMPASS, SIDES, TURNS
from holdfast.errors import UnknownName

CLOCK = ("12:00", "1:30", "3:00", "4:30", "6:00", "7:30", "9:00", "10:30")
DEGREES = ("0", "45", "90", "135", "180", "225", "270", "315")
TOKENS = (
    "acorn", "agate", "amber", "anvil", "apple", "arrow", "badge", "basil", "bison", "blade", "bugle", "cabin",
    "cactus", "camel", "candle", "cedar", "cobalt", "comet", "coral", "cotton", "cradle", "crimson", "daisy", "dingo",
    "drum", "ember", "fennel", "ferry", "flint", "fossil", "gecko", "ginger", "goblet", "hazel", "heron", "indigo",
    "jasper", "kettle", "lantern", "lemur", "lilac", "linen", "magnet", "mango", "marble", "nickel", "nutmeg", "onyx",
    "otter", "paddle", "pebble", "pepper", "quartz", "raven", "ribbon", "saddle", "satin", "tulip", "turnip", "velvet",
    "violin", "walnut", "willow", "zebra",
)  # fmt: skip
"""The words of which ``tokens_<k>`` takes eight."""

FORWARD = "forward()"
STOP = "stop()"


class Frame(StrEnum):
    """From where a word for a turn is said."""

    COMPASS = "compass"
    """The new heading on the compass."""
    VIEW = "view"
    """One of eight sides, from where one faces."""
    COARSE = "coarse"
    """One of the four published sides, from where one faces."""


class Turn(NamedTuple):
    """A turn, in each frame.

    Attributes:
        before, after: Headings in eighths of a full turn, clockwise from north.
        coarse: One of ``geometry.TURNS``.
    """

    before: int
    after: int
    coarse: str

    @property
    def view(self) -> int:
        """The new heading as seen from the old one, in eighths of a full turn."""
        return (self.after - self.before) % 8


@dataclass(frozen=True)
class Rule:
    """An action space.

    Attributes:
        name: The name it was asked by.
        frame: From where its words are said.
        words: The words of a turn; in the frames of eight, by eighths of a turn clockwise.
    """

    name: str
    frame: Frame
    words: tuple[str, ...]

    def word(self, turn: Turn) -> str:
        """Return the word for ``turn``."""
        if self.frame is Frame.COARSE:
            return turn.coarse
        return self.words[turn.after if self.frame is Frame.COMPASS else turn.view]

    def action(self, turn: Turn) -> str:
        """Return the action that makes ``turn``."""
        return turn_action(self.word(turn))

    @cached_property
    def actions(self) -> frozenset[str]:
        """All actions that may be answered."""
        return frozenset((FORWARD, STOP, *map(turn_action, self.words)))

    @property
    def legend(self) -> str:
        """What the words mean, where a reader cannot know it; else empty."""
        if self.words in (COMPASS, SIDES, TURNS):
            return ""
        if self.words == CLOCK:
            return "sides on the face of a clock, where 12:00 is front and 3:00 is right"
        if self.words == DEGREES:
            return "degrees clockwise from north, where 90 is east"
        return ", ".join(f"{word} is {token}" for word, token in zip(COMPASS, self.words, strict=True))

    @property
    def terse(self) -> str:
        """The words as short as they can be said so that they are understood."""
        if self.frame is Frame.COMPASS and self.words != COMPASS:
            return ", ".join(f"{word} {own}" for word, own in zip(COMPASS, self.words, strict=True))
        if self.words == CLOCK:
            return ", ".join(f"{word} {own}" for word, own in zip(SIDES, self.words, strict=True))
        return ", ".join(self.words)


def turn_action(word: str) -> str:
    """Return the action of a turn that is called ``word``."""
    return f"turn_direction({word})"


RULES: tuple[str, ...] = ("absolute", "relative", "relative_8", "clock", "degrees", "tokens_1", "tokens_2", "tokens_3")
"""The named rules. Every name of the grammar above is a rule; these are the ones offered in error messages."""

_FIXED = {
    "absolute": (Frame.COMPASS, COMPASS),
    "relative": (Frame.COARSE, TURNS),
    "relative_8": (Frame.VIEW, SIDES),
    "clock": (Frame.VIEW, CLOCK),
    "degrees": (Frame.COMPASS, DEGREES),
}
_TOKENS = re.compile("tokens_(0|[1-9][0-9]{0,8})")


@lru_cache(maxsize=8192)
def find_rule(name: str) -> Rule:
    """Return the rule called ``name``.

    Raises:
        UnknownName: ``name`` does not follow the grammar.

    Example:
        >>> find_rule("degrees").word(Turn(before=0, after=2, coarse="right"))
        '90'
    """
    if name in _FIXED:
        return Rule(name, *_FIXED[name])
    found = _TOKENS.fullmatch(name)
    if found is None:
        raise UnknownName("rule", name, RULES)
    rng = Random(int.from_bytes(sha256(f"navigation tokens {found[1]}".encode()).digest()[:16], "big"))
    return Rule(name, Frame.COMPASS, tuple(rng.sample(TOKENS, 8)))
