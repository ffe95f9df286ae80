"""Which expressions are dealt, and to which split each belongs.

An expression's key is the multiset of its numbers and signs: orders and brackets of one multiset are one problem, as
``3 + 4`` and ``4 + 3`` are one fact. The split of a key depends on the key alone, so splits are disjoint under all
rules, levels and styles at once. The elementary facts that longer expressions are worked out by occur in every split.

Neither what is dealt depends on the rule that is asked: every expression is one whose derivations stay in bounds under
all rules, so that rules are compared on the same expressions. From two signs on, most dealt expressions have
different values under different rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from random import Random

from holdfast.environments.arithmetic.expression import tree_of, value_of
from holdfast.environments.arithmetic.rules import RULES

LEVELS = (1, 2, 3, 4)
"""Numbers of signs."""
LARGEST_NUMBER = 9
SIGNS = "+-*"
SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}
HELD_OUT_SHARE = 0.15
BRACKET_SHARE = 0.3
SAME_VALUE_SHARE = 0.1
"""Of the expressions whose value is the same under all rules, this share is dealt."""

_SPLIT_OF_HOME = {"recall": "test", "compose": "test"}


def stream(*parts: object) -> Random:
    """Return the generator of one row: a pure function of ``parts``."""
    return Random(int.from_bytes(sha256(repr(parts).encode()).digest()[:16], "big"))


def key_of(numbers: Sequence[int], signs: Sequence[str]) -> str:
    """Return the multiset of numbers and signs.

    Example:
        >>> key_of([4, 2, 3], ["*", "+"])
        '2 3 4 *+'
    """
    return f"{' '.join(map(str, sorted(numbers)))} {''.join(sorted(signs))}"


@lru_cache(maxsize=65_536)
def home_of(key: str) -> str:
    """Return ``train``, ``validation`` or ``test``."""
    place = _share_of(f"split: {key}")
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    return "test"


@lru_cache(maxsize=65_536)
def held_out_of_pretraining(key: str) -> bool:
    """Return whether pre-training must never ask an expression of this key: 15 % of all, by a stable hash."""
    return _share_of(f"held out of pre-training: {key}") < HELD_OUT_SHARE


def belongs(key: str, split: str) -> bool:
    """Return whether expressions of ``key`` may be dealt in ``split``, which may also be ``pretraining``.

    ``compose`` and ``recall`` are those of ``test`` that are held out of pre-training, and the others.
    """
    if split == "pretraining":
        return not held_out_of_pretraining(key)
    if split in _SPLIT_OF_HOME:
        return home_of(key) == "test" and held_out_of_pretraining(key) is (split == "compose")
    return home_of(key) == split


def deal(split: str, level: int, rng: Random) -> tuple[str, str]:
    """Return an expression of ``level`` signs that belongs to ``split``, and its key.

    Args:
        split: One of ``SPLITS``, or ``pretraining``.
        level: 1 to 4.
        rng: Says which.
    """
    while True:
        numbers = [int(rng.random() * LARGEST_NUMBER) + 1 for _ in range(level + 1)]
        signs = [SIGNS[int(rng.random() * len(SIGNS))] for _ in range(level)]
        key = key_of(numbers, signs)
        if not belongs(key, split):
            continue
        same_is_kept = level == 1 or rng.random() < SAME_VALUE_SHARE
        if not same_is_kept and ("*" not in signs or signs.count("*") == level):
            continue  # signs that bind alike under every rule
        tokens = _tokens(numbers, signs, rng)
        values = _values(tokens)
        if values and (same_is_kept or len(set(values)) > 1):
            return written(tokens), key


def written(tokens: Sequence[str]) -> str:
    """Return an expression as text, signs between blanks, brackets without: ``(2 + 3) * 4``."""
    return " ".join(tokens).replace("( ", "(").replace(" )", ")")


def _values(tokens: list[str]) -> list[int]:
    """Return the value under each rule; empty if some derivation under some rule leaves the bounds."""
    values = []
    for rule in RULES:
        value = value_of(tree_of(tokens, rule))
        if value is None:
            return []
        values.append(value)
    return values


def _tokens(numbers: Sequence[int], signs: Sequence[str], rng: Random) -> list[str]:
    tokens = [str(numbers[0])]
    for sign, number in zip(signs, numbers[1:], strict=True):
        tokens += sign, str(number)
    if len(signs) > 1 and rng.random() < BRACKET_SHARE:
        # A bracket around two or more neighbors, but not around all of them.
        length = rng.randrange(2, len(numbers))
        first = rng.randrange(len(numbers) - length + 1)
        tokens.insert(2 * (first + length) - 1, ")")
        tokens.insert(2 * first, "(")
    return tokens


def _share_of(text: str) -> float:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") / (1 << 64)
