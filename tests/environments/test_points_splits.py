from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest

from holdfast.environments.general_points import GeneralPoints, held_out_of_pretraining
from holdfast.environments.general_points.cards import Card
from holdfast.environments.general_points.rules import find_rule
from holdfast.environments.general_points.solver import solvable
from holdfast.environments.general_points.splits import (
    Game,
    hand_kinds,
    pool,
    split_of_keys,
    stream,
    value_classes,
    values_of_split,
)
from holdfast.errors import UserError

GAMES = [
    ("faces_as_10", "faces_as_11_12_13"),
    ("faces_as_10", "faces_as_5_7_9"),
    ("faces_as_10", "faces_as_11_12_13", "faces_as_5_7_9"),
    ("faces_as_10", "faces_as_5", "faces_as_7", "faces_as_12"),
    ("faces_as_10", "ace_as_11", "target_36"),
]


@pytest.mark.parametrize("rules", GAMES, ids=lambda rules: "+".join(rules))
def test_no_values_occur_in_two_splits_under_any_rules_in_play(rules: tuple[str, ...]) -> None:
    game = Game.of(rules, 24, 4)
    splits = split_of_keys(game)
    homes: dict[tuple[int, ...], set[str]] = {}
    for hand in hand_kinds(game):
        if any(hand.solvable):
            for values in hand.values:
                homes.setdefault(values, set()).add(splits[hand.key])
    assert all(len(where) == 1 for where in homes.values())


@pytest.mark.slow
def test_no_values_occur_in_two_splits_where_a_rule_reads_suits() -> None:
    game = Game.of(("faces_as_10", "faces_as_11_12_13+red_negative"), 24, 4)
    seen = [
        values_of_split(game, game.rules[0], split) | values_of_split(game, game.rules[1], split)
        for split in ("train", "validation", "test")
    ]
    assert len(seen[0] | seen[1] | seen[2]) == sum(len(values) for values in seen)


@pytest.mark.parametrize("rules", GAMES, ids=lambda rules: "+".join(rules))
def test_shares_are_sixty_ten_and_thirty_percent_of_solvable_hands(rules: tuple[str, ...]) -> None:
    game = Game.of(rules, 24, 4)
    splits = split_of_keys(game)
    weight: Counter[str] = Counter()
    for hand in hand_kinds(game):
        if any(hand.solvable):
            weight[splits[hand.key]] += hand.weight * sum(hand.solvable)
    total = weight.total()
    assert weight["train"] / total == pytest.approx(0.6, abs=0.01)
    assert weight["validation"] / total == pytest.approx(0.1, abs=0.01)
    assert weight["test"] / total == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("rule", GAMES[0])
@pytest.mark.parametrize("faces", [0, 1, 2, 3, 4])
def test_splits_hold_alike_hands(rule: str, faces: int) -> None:
    game = Game.of(GAMES[0], 24, 4)
    share = {}
    for split in ("train", "test"):
        dealt = pool(game, (rule,), split, 0)
        with_faces = sum(
            hand.weight
            for hand in hand_kinds(game)
            if hand.solvable[game.rules.index(rule)] and hand.faces == faces and split_of_keys(game)[hand.key] == split
        )
        share[split] = with_faces / dealt.cumulative[-1]
    assert share["train"] == pytest.approx(share["test"], abs=0.06)


def test_the_order_of_the_rules_does_not_matter() -> None:
    assert Game.of(("b", "a"), 24, 4) == Game.of(("a", "b", "a"), 24, 4)


def test_classes_link_what_a_card_can_be_worth() -> None:
    classes = value_classes([find_rule("faces_as_10"), find_rule("faces_as_5_7_9")])
    assert classes[5] == classes[7] == classes[9] == classes[10] == 5
    assert [classes[number] for number in (1, 2, 3, 4, 6, 8)] == [1, 2, 3, 4, 6, 8]


def test_rules_that_link_everything_are_refused_by_name() -> None:
    rules = tuple(f"faces_as_{a}_{a + 1}_{a + 2}" for a in range(1, 11))
    environment = GeneralPoints(rules=rules)
    with pytest.raises(UserError, match=r"faces_as_1_2_3.*no fair split.*train \d+\.\d%"):
        environment.sample(rules[0], "train", 0, seed=0)
    posed = environment.pose(rules[0], [(1, 0), (2, 0), (3, 0), (4, 0)], split="train")
    assert environment.verify(posed, environment.demonstrate(posed)).facts["values_seen_in_training"] is None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_pool_is_all_ordered_hands_that_are_solvable_and_of_the_split(split: str) -> None:
    game = Game.of(GAMES[0], 24, 3)
    rule = find_rule("faces_as_11_12_13")
    splits, classes = split_of_keys(game), value_classes([find_rule(name) for name in game.rules])
    brute: Counter[tuple[int, ...]] = Counter()
    for ranks in product(range(1, 14), repeat=3):
        values = [rule.value(Card(rank, 0)) for rank in ranks]
        if solvable(values, 24) and splits[tuple(sorted(classes[value] for value in values))] == split:
            brute[tuple(sorted(ranks))] += 1
    found = pool(game, (rule.name,), split, 0)
    weights = [high - low for low, high in zip((0, *found.cumulative), found.cumulative, strict=False)]
    assert dict(brute) == {
        tuple(found.kinds[k].rank for k in hand): weight for hand, weight in zip(found.hands, weights, strict=True)
    }


def test_each_ordered_hand_is_as_likely_as_any_other() -> None:
    found = pool(Game.of(GAMES[0], 24, 3), ("faces_as_11_12_13",), "validation", 1)
    ordered = found.cumulative[-1]
    rng = Random(0)
    counts = Counter(tuple(card.rank for card in found.draw(rng)) for _ in range(200 * ordered))
    assert len(counts) == ordered < 200
    # Chi-square with ordered - 1 degrees of freedom: mean ordered - 1, standard deviation sqrt(2 (ordered - 1)).
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert abs(chi_square - (ordered - 1)) < 5 * (2 * ordered) ** 0.5


def test_suits_are_uniform() -> None:
    environment = GeneralPoints()
    suits = Counter(
        suit
        for index in range(1500)
        for _, suit in environment.sample("faces_as_10", "train", index, seed=0).facts["hand"]
    )
    assert all(abs(suits[suit] - 1500) < 5 * (6000 * 3 / 16) ** 0.5 for suit in range(4))


def test_about_fifteen_percent_of_values_are_held_out_of_pretraining() -> None:
    values = [(a, b, c, d) for a in range(1, 14) for b in range(a, 14) for c in range(b, 14) for d in range(c, 14)]
    held = [v for v in values if held_out_of_pretraining(v, 24)]
    assert len(held) / len(values) == pytest.approx(0.15, abs=0.03)
    assert all(held_out_of_pretraining(v[::-1], 24) for v in held)
    assert held != [v for v in values if held_out_of_pretraining(v, 36)]


@pytest.mark.parametrize("rule", GAMES[0])
def test_compose_is_held_out_of_pretraining_and_recall_is_not(rule: str) -> None:
    environment = GeneralPoints()
    for index in range(300):
        compose = environment.sample(rule, "compose", index, seed=0)
        recall = environment.sample(rule, "recall", index, seed=0)
        assert held_out_of_pretraining(compose.facts["values"], 24)
        assert not held_out_of_pretraining(recall.facts["values"], 24)


def test_training_is_not_filtered_by_what_pretraining_holds_out() -> None:
    environment = GeneralPoints()
    held = [
        held_out_of_pretraining(environment.sample("faces_as_10", "train", index, seed=0).facts["values"], 24)
        for index in range(500)
    ]
    assert 20 < sum(held) < 150


def test_a_stream_depends_on_every_part() -> None:
    draws = [stream(*parts).random() for parts in [(1, "a"), (1, "b"), (2, "a"), ("1", "a"), ("1a",)]]
    assert len(set(draws)) == len(draws)
    assert stream(1, "a").random() == draws[0]
