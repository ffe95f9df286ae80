from __future__ import annotations

import pytest

from holdfast.environments.general_points.cards import Card
from holdfast.environments.general_points.rules import RULES, find_rule, rule_map
from holdfast.errors import UnknownName, UserError

RED_QUEEN, BLACK_ACE, BLACK_SEVEN = Card(12, 0), Card(1, 2), Card(7, 3)


def test_every_named_rule_is_found_and_says_what_it_does() -> None:
    assert len(set(RULES)) == len(RULES)
    said = {find_rule(name).sentence() + str(find_rule(name).target) for name in RULES}
    # Two say the same, spelled out or by default: ace_as_1 is faces_as_10, ace_as_11 is faces_as_10+ace_as_11.
    assert len(said) == len(RULES) - 2


@pytest.mark.parametrize(
    ("name", "faces"),
    [
        ("faces_as_10", (10, 10, 10)),
        ("faces_as_11_12_13", (11, 12, 13)),
        ("faces_as_5_7_9", (5, 7, 9)),
        ("faces_as_1_99_3", (1, 99, 3)),
        ("ace_as_11", (10, 10, 10)),
    ],
)
def test_faces_count_as_the_name_says(name: str, faces: tuple[int, int, int]) -> None:
    assert rule_map(name) == faces


def test_parts_of_a_name_join() -> None:
    rule = find_rule("faces_as_11_12_13+ace_as_14+red_negative+black_doubled+target_36")
    assert rule.value(RED_QUEEN) == -12
    assert rule.value(BLACK_ACE) == 28
    assert rule.value(BLACK_SEVEN) == 14
    assert rule.target == 36
    assert rule.reads_suits
    assert rule.sentence() == (
        "J, Q and K count as 11, 12 and 13; A counts as 14; red cards count negative; black cards count double"
    )
    assert rule.terse() == "J=11 Q=12 K=13 A=14 red negative black doubled"


def test_a_plain_rule_reads_no_suits() -> None:
    assert not find_rule("faces_as_10").reads_suits
    assert find_rule("faces_as_10").value(RED_QUEEN) == find_rule("faces_as_10").value(Card(12, 3)) == 10
    assert find_rule("faces_as_10").sentence() == "J, Q and K each count as 10"


@pytest.mark.parametrize("name", ["face_as_10", "faces_as_0", "faces_as_10_11", "faces_as_١٠", "", "ace_as_11+", "a+b"])
def test_a_name_outside_the_grammar_is_unknown(name: str) -> None:
    with pytest.raises(UnknownName):
        find_rule(name)


def test_a_near_miss_is_answered_with_the_nearest_rule() -> None:
    with pytest.raises(UnknownName, match='Did you mean "faces_as_11_12_13"'):
        find_rule("face_as_11_12_13")


@pytest.mark.parametrize("name", ["faces_as_10+faces_as_11", "red_negative+red_doubled", "target_3+target_4"])
def test_a_name_that_says_two_things_about_one_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="two things about"):
        find_rule(name)
