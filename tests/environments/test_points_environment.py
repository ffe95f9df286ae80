from __future__ import annotations

import time
from typing import Any

import pytest

from holdfast.environments import ENVIRONMENTS
from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.general_points.solver import solvable
from holdfast.errors import UnknownName, UserError
from holdfast.members import build
from holdfast.records import Outcome

BOTH = ("faces_as_10", "faces_as_11_12_13")


def test_rows_are_the_same_on_every_machine() -> None:
    environment = GeneralPoints()
    hands = [environment.sample("faces_as_10", "train", index, seed=0).facts["hand"] for index in range(3)]
    # (rank, suit) of each card, as first dealt; a change here changes every data set there is.
    assert hands == [
        [[4, 3], [4, 3], [1, 2], [4, 3]],
        [[1, 1], [2, 0], [9, 3], [7, 2]],
        [[12, 1], [4, 2], [5, 3], [2, 0]],
    ]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_paired_problems_ask_the_very_same_hand(split: str) -> None:
    one = GeneralPoints(rules=(*BOTH, "faces_as_5_7_9"), paired_with=("faces_as_11_12_13",))
    other = GeneralPoints(rules=(*BOTH, "faces_as_5_7_9"), paired_with=("faces_as_10",))
    for index in range(200):
        a = one.sample("faces_as_10", split, index, seed=3)
        b = other.sample("faces_as_11_12_13", split, index, seed=3)
        assert a.facts["hand"] == b.facts["hand"]
        assert a.facts["pair"] == b.facts["pair"]
        assert a.key != b.key
        assert any(rank > 10 for rank, _ in a.facts["hand"])
        assert solvable(a.facts["values"], 24)
        assert solvable(b.facts["values"], 24)
        # One environment that names both rules deals the same hands again.
        both = GeneralPoints(rules=(*BOTH, "faces_as_5_7_9"), paired_with=BOTH)
        assert both.sample("faces_as_10", split, index, seed=3).facts["hand"] == a.facts["hand"]


def test_three_rules_can_be_paired() -> None:
    rules = (*BOTH, "faces_as_5_7_9")
    environment = GeneralPoints(rules=rules, paired_with=rules)
    for index in range(50):
        problems = [environment.sample(rule, "test", index, seed=0) for rule in rules]
        assert len({str(problem.facts["hand"]) for problem in problems}) == 1
        for problem in problems:
            assert environment.verify(problem, environment.demonstrate(problem)).outcome is Outcome.CORRECT


@pytest.mark.parametrize("min_faces", [1, 2, 4])
def test_hands_hold_as_many_faces_as_asked(min_faces: int) -> None:
    environment = GeneralPoints(min_faces=min_faces)
    for index in range(100):
        problem = environment.sample("faces_as_11_12_13", "train", index, seed=0)
        assert sum(rank > 10 for rank, _ in problem.facts["hand"]) >= min_faces


def test_the_key_is_the_values_under_the_asked_rule() -> None:
    environment = GeneralPoints()
    hand = [(11, 0), (2, 1), (13, 2), (3, 3)]
    assert environment.pose("faces_as_10", hand, split="test").key == "2 3 10 10"
    problem = environment.pose("faces_as_11_12_13", hand, split="test")
    assert problem.key == "2 3 11 13"
    assert problem.facts["pair"] == "2 3 11 13"
    assert problem.facts["values"] == [11, 2, 13, 3]


@pytest.mark.parametrize(
    ("n_cards", "target"), [(3, 24), (3, -7), (4, 0), (5, 24), (5, -7), pytest.param(6, 24, marks=pytest.mark.slow)]
)
def test_hands_of_other_sizes_and_targets_are_dealt_and_solved(n_cards: int, target: int) -> None:
    environment = GeneralPoints(n_cards=n_cards, target=target)
    for index in range(20):
        for rule in environment.rules:
            problem = environment.sample(rule, "test", index, seed=0)
            assert len(problem.facts["hand"]) == n_cards
            assert environment.verify(problem, environment.demonstrate(problem)).outcome is Outcome.CORRECT


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["faces_as_11_12_13+red_negative", "black_doubled"])
def test_rules_that_read_suits_are_dealt_and_solved(rule: str) -> None:
    environment = GeneralPoints(rules=("faces_as_10", rule), prompt_style="terse", answer_format="steps")
    reds = 0
    for index in range(100):
        problem = environment.sample(rule, "test", index, seed=0)
        reds += sum(suit < 2 for _, suit in problem.facts["hand"])
        verdict = environment.verify(problem, environment.demonstrate(problem))
        assert verdict.outcome is Outcome.CORRECT
        assert verdict.facts["format_ok"] is True
    assert 100 < reds < 300


def test_a_rule_that_is_not_in_play_is_refused_with_the_cure() -> None:
    with pytest.raises(UserError, match=r"faces_as_5_7_9.*add it to the environment's rules"):
        GeneralPoints().sample("faces_as_5_7_9", "test", 0, seed=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": ["face_as_10"]}, "Did you mean"),
        ({"rules": []}, "empty"),
        ({"rules": "faces_as_10"}, "list of rule names"),
        ({"rules": [10]}, "list of rule names"),
        ({"paired_with": ["faces_as_5_7_9"]}, "not in play"),
        ({"n_cards": 7}, "from 3 to 6"),
        ({"n_cards": True}, "from 3 to 6"),
        ({"n_cards": 5, "rules": ["faces_as_10", "red_negative"]}, "at most 4"),
        ({"target": 24.0}, "target must be a whole number"),
        ({"min_faces": 5}, "from 0 to 4"),
        ({"prompt_style": "tarse"}, 'Did you mean "terse"'),
        ({"prompt_style": "paraphrase_99"}, "paraphrase_1"),
        ({"card_text": "suits"}, "suit_words"),
        ({"answer_format": "jsn"}, 'Did you mean "json"'),
        ({"mode": "strictly"}, 'Did you mean "strict"'),
        ({"mod": "strict"}, 'Did you mean "mode"'),
    ],
)
def test_a_bad_option_is_refused_at_construction(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build("environment", {"name": "general_points", **options}, ENVIRONMENTS)


def test_an_unknown_split_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="validation"):
        GeneralPoints().sample("faces_as_10", "valid", 0, seed=0)


def test_an_empty_pool_says_why() -> None:
    environment = GeneralPoints(rules=(*BOTH, "faces_as_5_7_9"), paired_with=(*BOTH, "faces_as_5_7_9"), min_faces=4)
    with pytest.raises(UserError, match="has no hand of 4 cards with at least 4 face cards"):
        environment.sample("faces_as_10", "compose", 0, seed=0)


def test_making_an_environment_costs_nothing() -> None:
    begin = time.perf_counter()
    for target in range(100):
        GeneralPoints(target=target)
    assert time.perf_counter() - begin < 0.5
