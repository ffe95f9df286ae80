"""Whether a reply names the cards that its picture shows: what GP-VL calls recognition."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_PUBLISHED = re.compile(r'"cards": \[([^\]]+)\]')
_LISTED = re.compile(r'"cards" ?: ?\[([^\]]{0,400})\]')
_MARKS = str.maketrans("", "", "[]' ")
N_PUBLISHED = 4


def recognized(reply: str, ranks: Sequence[str]) -> bool:
    """Return whether the first ``"cards"`` list of ``reply`` holds ``ranks`` in any order, quoted in any way.

    Example:
        >>> recognized('{"cards": ["K", \\'10\\', A, "3"], ...', ["A", "3", "K", "10"])
        True
    """
    found = _LISTED.search(reply)
    return found is not None and sorted(word.strip(" '\"\n") for word in found[1].split(",")) == sorted(ranks)


def recognized_as_published(reply: str, ranks: Sequence[str]) -> bool:
    """Return whether the published judge takes the cards of ``reply`` for ``ranks``, in any order.

    Kept on purpose: the field of a reply that is *valid* JSON arrives as a list and counts as no cards; double quotes
    are not removed, so only the single quotes of a Python list are right; there must be four cards.
    """
    return sorted(_published_cards(reply)) == sorted(ranks)


def _published_cards(reply: str) -> list[str]:
    try:
        field = json.loads(reply)["cards"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        found = _PUBLISHED.search(reply)
        field = None if found is None else found[1]
    if not isinstance(field, str):
        return []
    cards = field.translate(_MARKS).split(",")
    return cards if len(cards) == N_PUBLISHED else []
