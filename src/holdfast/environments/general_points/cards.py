"""Playing cards: ranks, suits, and the words for them.

A hand is a tuple of ``Card``. Ranks are 1 to 13 and suits 0 to 3, plain integers, so that a hand is plain JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
RANK_WORDS = (
    "ace", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "jack", "queen", "king",
)  # fmt: skip
SUITS = ("hearts", "diamonds", "spades", "clubs")
RED_SUITS = (0, 1)
BLACK_SUITS = (2, 3)
FIRST_FACE = 11


class Card(NamedTuple):
    """One card. ``rank`` is 1 (ace) to 13 (king), ``suit`` an index into ``SUITS``."""

    rank: int
    suit: int

    @property
    def red(self) -> bool:
        """Whether the suit is hearts or diamonds."""
        return self.suit in RED_SUITS

    @property
    def face(self) -> bool:
        """Whether the rank is jack, queen or king."""
        return self.rank >= FIRST_FACE


Hand = tuple[Card, ...]


def color(card: Card) -> str:
    """Return ``"red"`` or ``"black"``."""
    return "red" if card.red else "black"


def rank_text(card: Card) -> str:
    """Return the bare rank as printed on the card: ``"Q"``."""
    return RANKS[card.rank - 1]


def colored_rank_text(card: Card) -> str:
    """Return color and rank, ``"red Q"``: the bare wording where a rule reads suits."""
    return f"{color(card)} {rank_text(card)}"


def suit_words_text(card: Card) -> str:
    """Return color and rank in words: ``"a red queen"``."""
    return f"a {color(card)} {RANK_WORDS[card.rank - 1]}"


def long_text(card: Card) -> str:
    """Return rank and suit in words: ``"the queen of hearts"``."""
    return f"the {RANK_WORDS[card.rank - 1]} of {SUITS[card.suit]}"


CARD_TEXTS: dict[str, Callable[[Card], str]] = {
    "ranks": rank_text,
    "suit_words": suit_words_text,
    "long": long_text,
}
"""Wordings of a card by name. ``ranks`` shows the color as well where a rule in play reads suits."""


def words_of(hand: Sequence[Card], card_text: str, *, show_color: bool) -> tuple[str, ...]:
    """Return the text of each card.

    Args:
        hand: The cards in dealt order.
        card_text: A name of ``CARD_TEXTS``.
        show_color: Whether bare ranks are preceded by the color; the other wordings show it anyway.
    """
    text = colored_rank_text if card_text == "ranks" and show_color else CARD_TEXTS[card_text]
    return tuple(text(card) for card in hand)
