"""The rules of the points game as data: what each card is worth, and at times another target.

A rule's name says what it does. Parts are joined by ``+``, at most one of each kind, in any order:

==================  ====================================================================================
``faces_as_10``     jack, queen and king are worth 10 (any number from 1 to 99)
``faces_as_5_7_9``  the jack is worth 5, the queen 7, the king 9
``ace_as_11``       the ace is worth 11 (else 1)
``red_negative``    a red card is worth minus its number
``black_doubled``   a black card is worth twice its number
``target_36``       the formula has to make 36, whatever the environment's target is
==================  ====================================================================================

Where no part names the faces, they are worth 10. ``RULES`` lists the rules of the literature and some more; any other
name of the same grammar works as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from holdfast.environments.general_points.cards import FIRST_FACE, Card
from holdfast.errors import UnknownName, UserError

DEFAULT_FACES = (10, 10, 10)


@dataclass(frozen=True)
class Rule:
    """What the cards are worth.

    Attributes:
        name: The name it was asked by.
        faces: Values of jack, queen and king.
        ace: Value of the ace.
        red_factor: Red cards are worth this many times their number.
        black_factor: The same for black cards.
        target: What the formula has to make; None leaves it to the environment.
    """

    name: str
    faces: tuple[int, int, int] = DEFAULT_FACES
    ace: int = 1
    red_factor: int = 1
    black_factor: int = 1
    target: int | None = None

    @property
    def reads_suits(self) -> bool:
        """Whether a card's worth depends on its color, so that a prompt must show it."""
        return (self.red_factor, self.black_factor) != (1, 1)

    def value(self, card: Card) -> int:
        """Return what ``card`` is worth."""
        if card.rank >= FIRST_FACE:
            number = self.faces[card.rank - FIRST_FACE]
        else:
            number = self.ace if card.rank == 1 else card.rank
        return number * (self.red_factor if card.red else self.black_factor)

    def sentence(self) -> str:
        """Return the rule in words, without a final stop: what a prompt says (``{rule}`` of a template)."""
        jack, queen, king = self.faces
        if jack == queen == king:
            parts = [f"J, Q and K each count as {jack}"]
        else:
            parts = [f"J, Q and K count as {jack}, {queen} and {king}"]
        if self.ace != 1:
            parts.append(f"A counts as {self.ace}")
        parts.extend(_COLOR_SENTENCES[part] for part in self._color_parts())
        return "; ".join(parts)

    def terse(self) -> str:
        """Return the rule as a short line: ``"J=11 Q=12 K=13"``."""
        jack, queen, king = self.faces
        parts = [f"J={jack} Q={queen} K={king}"]
        if self.ace != 1:
            parts.append(f"A={self.ace}")
        parts.extend(part.replace("_", " ") for part in self._color_parts())
        return " ".join(parts)

    def _color_parts(self) -> list[str]:
        return [
            part
            for part, (red, black) in _COLOR_FACTORS.items()
            if (red != 1 and red == self.red_factor) or (black != 1 and black == self.black_factor)
        ]


_COLOR_FACTORS = {
    "red_negative": (-1, 1),
    "red_doubled": (2, 1),
    "black_negative": (1, -1),
    "black_doubled": (1, 2),
}
_COLOR_SENTENCES = {
    "red_negative": "red cards count negative",
    "red_doubled": "red cards count double",
    "black_negative": "black cards count negative",
    "black_doubled": "black cards count double",
}

RULES: tuple[str, ...] = (
    "faces_as_5",
    "faces_as_7",
    "faces_as_8",
    "faces_as_9",
    "faces_as_10",
    "faces_as_11",
    "faces_as_12",
    "faces_as_13",
    "faces_as_11_12_13",
    "faces_as_10_11_12",
    "faces_as_9_10_11",
    "faces_as_7_9_11",
    "faces_as_5_7_9",
    "ace_as_1",
    "ace_as_11",
    "ace_as_14",
    "red_negative",
    "red_doubled",
    "black_negative",
    "black_doubled",
    "target_36",
    "faces_as_10+ace_as_11",
    "faces_as_11_12_13+ace_as_14",
    "faces_as_11_12_13+red_negative",
)
"""The named rules. Every name of the grammar above is a rule; these are the ones offered in error messages."""

_NUMBER = "([1-9][0-9]?)"
_FACES = re.compile(f"faces_as_{_NUMBER}(?:_{_NUMBER}_{_NUMBER})?")
_ACE = re.compile(f"ace_as_{_NUMBER}")
_TARGET = re.compile("target_(-?[0-9]{1,4})")


@lru_cache(maxsize=8192)
def find_rule(name: str) -> Rule:
    """Return the rule called ``name``.

    Raises:
        UnknownName: ``name`` does not follow the grammar.
        UserError: two parts of ``name`` say the same kind of thing.

    Example:
        >>> find_rule("faces_as_5_7_9").faces
        (5, 7, 9)
    """
    faces, ace, target, red, black = DEFAULT_FACES, 1, None, 1, 1
    kinds: list[str] = []
    for part in name.split("+"):
        if found := _FACES.fullmatch(part):
            first = int(found[1])
            faces = (first, int(found[2]), int(found[3])) if found[2] else (first, first, first)
            kinds.append("faces")
        elif found := _ACE.fullmatch(part):
            ace = int(found[1])
            kinds.append("ace")
        elif found := _TARGET.fullmatch(part):
            target = int(found[1])
            kinds.append("target")
        elif part in _COLOR_FACTORS:
            red, black = red * _COLOR_FACTORS[part][0], black * _COLOR_FACTORS[part][1]
            kinds.append(part.partition("_")[0])
        else:
            raise UnknownName("rule", name, RULES)
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise UserError(f"rule {name!r} says two things about {kind}; keep one of them")
    return Rule(name, faces, ace, red, black, target)


def rule_map(name: str) -> tuple[int, int, int]:
    """Return what jack, queen and king are worth under the rule called ``name``."""
    return find_rule(name).faces
