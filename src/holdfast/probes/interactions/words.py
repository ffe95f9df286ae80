"""The players: words of a prompt, chosen once and for all by the prompt itself.

A player is a whole word, not a token, so that models with other tokenizers play the same game. Words are parted by
blanks; signs around a word do not belong to it, and function words do not play (negations do). No word of a chat
template, of a system prompt or of an earlier turn plays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.report.token_profile import FUNCTION_WORDS

NEGATIONS = frozenset({"no", "not", "nor"})
"""Function words that say too much to stay in the background."""
_BLANKS = re.compile(r"\S+")
_BARE = re.compile(r"\w(?:.*\w)?", re.DOTALL)
_RUNS = re.compile(r"[^\W_]+")


class Word(NamedTuple):
    """A word, and where it stands in its text: characters [start, end)."""

    text: str
    start: int
    end: int


def content_words(text: str) -> list[Word]:
    """Return the words of a text that may play, in order.

    Example:
        >>> [word.text for word in content_words("Is the rule “J=10”, or not?")]
        ['rule', 'J=10', 'not']
    """
    words = []
    for found in _BLANKS.finditer(text):
        bare = _BARE.search(found[0])
        if bare is not None and (bare[0].lower() not in FUNCTION_WORDS or bare[0].lower() in NEGATIONS):
            words.append(Word(bare[0], found.start() + bare.start(), found.start() + bare.end()))
    return words


def answer_words(text: str) -> list[Word]:
    """Return the runs of letters and digits of an answer: what may be a target.

    Example:
        >>> [word.text for word in answer_words("(4+10)=14")]
        ['4', '10', '14']
    """
    return [Word(found[0], found.start(), found.end()) for found in _RUNS.finditer(text)]


def chosen(words: Sequence[Word], count: int, *, key: str) -> tuple[Word, ...]:
    """Return ``count`` of the words in their order, as good as drawn at random but the same for the same ``key``.

    Args:
        words: Candidates, all of which are returned if there are no more than ``count``.
        count: Players wanted.
        key: The prompt, or another name for it.
    """

    def lot(place: int) -> bytes:
        return hashlib.sha256(f"{key}\n{place}\n{words[place].text}".encode()).digest()

    places = sorted(range(len(words)), key=lot)[:count]
    return tuple(words[place] for place in sorted(places))
