"""Which hands belong to training, validation and test, and how one is drawn.

Splitting by cards leaks: under one rule J and Q may be worth the same, and a 10 may be worth as much as a K. So hands
are split by *value classes*: two numbers are of one class if some card is worth one of them under one rule in play and
the other under another rule in play. A hand's split key is the sorted multiset of its cards' classes. It is the same
under every rule in play, so no multiset of values can occur in two splits, whichever rules the two hands are asked by.

Keys are taken in an order that a stable hash fixes within each stratum of equal weight, and dealt out so that the
running shares of train, validation and test stay as near 60 : 10 : 30 as they can. The weight of a key is the number
of ordered solvable hands it holds, summed over the rules in play.

``recall`` and ``compose`` part ``test`` by whether pre-training may have shown the values
(``held_out_of_pretraining``). Train and validation are *not* filtered by it: they stay plain samples of the same
distribution as test, and since no values cross a split, what ``compose`` asks was shown neither in pre-training nor in
training.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, combinations_with_replacement
from math import factorial, prod
from random import Random
from typing import NamedTuple

from holdfast.environments.general_points.cards import BLACK_SUITS, RED_SUITS, Card, Hand
from holdfast.environments.general_points.rules import Rule, find_rule
from holdfast.environments.general_points.solver import Values, solvable
from holdfast.errors import UserError

SHARES = {"train": 0.6, "test": 0.3, "validation": 0.1}
"""Share of each split; the order breaks ties."""
HELD_OUT_SHARE = 0.15
SMALLEST_SHARE = 0.5
"""A split that ends below this part of its share means that the rules in play link too many values."""


class Kind(NamedTuple):
    """What the rules in play can tell apart of a card: its rank, and its suits' color if one of them reads suits."""

    rank: int
    suits: tuple[int, ...]


class HandKind(NamedTuple):
    """A multiset of kinds. ``weight`` counts its ordered hands, ``values`` its cards' worth, one entry a rule."""

    kinds: tuple[int, ...]
    weight: int
    key: tuple[int, ...]
    values: tuple[Values, ...]
    solvable: tuple[bool, ...]
    faces: int


def held_out_of_pretraining(values: Sequence[int], target: int) -> bool:
    """Return whether pre-training must never show these values with this target, under any rule.

    A fixed 15 % of all (value multiset, target), by a stable hash: it depends on no seed, rule, split or version.
    """
    text = f"held out of pre-training: {' '.join(map(str, sorted(values)))} -> {target}"
    return stable_number(text) < int(HELD_OUT_SHARE * (1 << 64))


def stable_number(text: str) -> int:
    """Return 64 bits that depend on ``text`` alone."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


def stream(*parts: object) -> Random:
    """Return the generator of one row: a pure function of ``parts``."""
    return Random(int.from_bytes(sha256(repr(parts).encode()).digest()[:16], "big"))


def kinds_of(rules: Iterable[Rule]) -> tuple[Kind, ...]:
    """Return the equally likely kinds of card: 13 ranks, or 26 (rank, color) if one of ``rules`` reads suits."""
    if any(rule.reads_suits for rule in rules):
        return tuple(Kind(rank, suits) for rank in range(1, 14) for suits in (RED_SUITS, BLACK_SUITS))
    return tuple(Kind(rank, (*RED_SUITS, *BLACK_SUITS)) for rank in range(1, 14))


def value_classes(rules: Sequence[Rule]) -> dict[int, int]:
    """Return the class of each number that a card can be worth, named by its smallest member.

    Example:
        >>> classes = value_classes([find_rule("faces_as_10"), find_rule("faces_as_11_12_13")])
        >>> classes[9], classes[10], classes[13]
        (9, 10, 10)
    """
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            number = parent[number]
        return number

    for kind in kinds_of(rules):
        roots = [root(rule.value(Card(kind.rank, kind.suits[0]))) for rule in rules]
        for other in roots:
            parent[root(other)] = root(roots[0])
    members = defaultdict(list)
    for number in parent:
        members[root(number)].append(number)
    return {number: min(group) for group in members.values() for number in group}


@dataclass(frozen=True)
class Game:
    """What the splits depend on. ``rules`` is sorted by name, so the order of the user's list does not matter."""

    rules: tuple[str, ...]
    target: int
    n_cards: int

    @staticmethod
    def of(rules: Iterable[str], target: int, n_cards: int) -> Game:
        """Return the game of these rules in play."""
        return Game(tuple(sorted(set(rules))), target, n_cards)

    def target_of(self, rule: str) -> int:
        """Return what a formula has to make under ``rule``."""
        own = find_rule(rule).target
        return self.target if own is None else own


@lru_cache(maxsize=16)
def hand_kinds(game: Game) -> tuple[HandKind, ...]:
    """Return every multiset of kinds of card, with its worth and solvability under each rule in play."""
    rules = [find_rule(name) for name in game.rules]
    targets = [game.target_of(name) for name in game.rules]
    kinds = kinds_of(rules)
    classes = value_classes(rules)
    worth = [[rule.value(Card(kind.rank, kind.suits[0])) for kind in kinds] for rule in rules]
    class_of = [classes[number] for number in worth[0]]
    rows = []
    for chosen in combinations_with_replacement(range(len(kinds)), game.n_cards):
        weight = factorial(game.n_cards) // prod(factorial(count) for count in Counter(chosen).values())
        values = tuple(tuple(sorted([row[k] for k in chosen])) for row in worth)
        rows.append(
            HandKind(
                chosen,
                weight,
                tuple(sorted([class_of[k] for k in chosen])),
                values,
                tuple(solvable(of_rule, target) for of_rule, target in zip(values, targets, strict=True)),
                sum(kinds[k].rank > 10 for k in chosen),
            )
        )
    return tuple(rows)


@lru_cache(maxsize=16)
def split_of_keys(game: Game) -> dict[tuple[int, ...], str]:
    """Return the split of every key that holds a solvable hand.

    Raises:
        UserError: the rules in play link so many values that a split is nearly empty.
    """
    size: Counter[tuple[int, ...]] = Counter()
    weight: Counter[tuple[int, ...]] = Counter()
    for hand in hand_kinds(game):
        size[hand.key] += hand.weight
        if any(hand.solvable):
            weight[hand.key] += hand.weight * sum(hand.solvable)
    # Large keys first, so that each stratum is shared out fairly and the small keys even out what is left.
    order = sorted(weight, key=lambda key: (-size[key], stable_number(f"split: {key}")))
    taken = dict.fromkeys(SHARES, 0)
    done = 0
    splits = {}
    for key in order:
        done += weight[key]
        split = max(SHARES, key=lambda name: SHARES[name] * done - taken[name])
        splits[key] = split
        taken[split] += weight[key]
    if any(taken[name] < SMALLEST_SHARE * share * done for name, share in SHARES.items()):
        found = ", ".join(f"{name} {taken[name] / max(done, 1):.1%}" for name in SHARES)
        raise UserError(
            f"the rules in play ({', '.join(game.rules)}; target {game.target}, {game.n_cards} cards) link so many "
            f"card values that no fair split is left: {found} of the solvable hands (wanted 60%, 30%, 10%). "
            "Put fewer rules in play, or rules whose values overlap less."
        )
    return splits


@dataclass(frozen=True)
class Pool:
    """The hands that a split may deal. ``cumulative`` counts ordered hands, so that each of those is equally likely."""

    kinds: tuple[Kind, ...]
    hands: tuple[tuple[int, ...], ...]
    cumulative: tuple[int, ...]

    def draw(self, rng: Random, *, suits: tuple[int, ...] | None = None) -> Hand:
        """Return a hand: ranks independent and uniform, given that the hand is in the pool; suits uniform.

        Args:
            rng: Suits are drawn last, so equal generators deal equal ranks whatever ``suits`` are.
            suits: Deal these only, where no rule in play reads suits; None deals all.
        """
        place = bisect_right(self.cumulative, rng.randrange(self.cumulative[-1]))
        chosen = [self.kinds[k] for k in self.hands[place]]
        rng.shuffle(chosen)
        return tuple(Card(kind.rank, rng.choice(kind.suits if suits is None else suits)) for kind in chosen)


@lru_cache(maxsize=256)
def pool(game: Game, asked: tuple[str, ...], split: str, min_faces: int) -> Pool:
    """Return the hands of ``split`` that are solvable under every rule of ``asked`` and hold ``min_faces`` face cards.

    ``compose`` holds those test hands whose values are held out of pre-training under every rule of ``asked``,
    ``recall`` those whose values are held out under none; with one rule asked the two make up ``test``.

    Raises:
        UserError: no hand is left.
    """
    splits = split_of_keys(game)
    places = [game.rules.index(name) for name in asked]
    targets = [game.target_of(name) for name in asked]
    home = "test" if split in ("recall", "compose") else split
    chosen = []
    for hand in hand_kinds(game):
        if hand.faces < min_faces or splits.get(hand.key) != home or not all(hand.solvable[k] for k in places):
            continue
        if split != home:
            held = {held_out_of_pretraining(hand.values[k], t) for k, t in zip(places, targets, strict=True)}
            if held != {split == "compose"}:
                continue
        chosen.append(hand)
    if not chosen:
        raise UserError(
            f"split {split!r} has no hand of {game.n_cards} cards with at least {min_faces} face cards that makes its "
            f"target under {' and '.join(asked)}; ask for another split, fewer face cards, or other rules"
        )
    return Pool(
        kinds_of([find_rule(name) for name in game.rules]),
        tuple(hand.kinds for hand in chosen),
        tuple(accumulate(hand.weight for hand in chosen)),
    )


@lru_cache(maxsize=64)
def values_of_split(game: Game, rule: str, split: str) -> frozenset[Values]:
    """Return the value multisets that problems of ``split`` asked by ``rule`` can have."""
    place = game.rules.index(rule)
    splits = split_of_keys(game)
    return frozenset(
        hand.values[place] for hand in hand_kinds(game) if hand.solvable[place] and splits[hand.key] == split
    )
