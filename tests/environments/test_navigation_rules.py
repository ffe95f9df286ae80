from __future__ import annotations

import pytest

from holdfast.environments.navigation.geometry import COMPASS, SIDES
from holdfast.environments.navigation.rules import FORWARD, RULES, STOP, TOKENS, Frame, Turn, find_rule, turn_action
from holdfast.errors import UnknownName

EAST_TO_NORTH = Turn(before=2, after=0, coarse="left")


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("absolute", "north"),
        ("relative", "left"),
        ("relative_8", "left"),
        ("clock", "9:00"),
        ("degrees", "0"),
        ("tokens_3", find_rule("tokens_3").words[0]),
    ],
)
def test_one_turn_has_a_word_under_every_rule(rule: str, word: str) -> None:
    assert find_rule(rule).word(EAST_TO_NORTH) == word
    assert find_rule(rule).action(EAST_TO_NORTH) == f"turn_direction({word})"


@pytest.mark.parametrize("rule", RULES)
def test_an_action_space_is_forward_stop_and_its_turns(rule: str) -> None:
    found = find_rule(rule)
    many = 4 if found.frame is Frame.COARSE else 8
    assert len(found.words) == many
    assert found.actions == {FORWARD, STOP} | {turn_action(word) for word in found.words}
    assert len(found.actions) == many + 2


@pytest.mark.parametrize("rule", [rule for rule in RULES if find_rule(rule).frame is not Frame.COARSE])
def test_each_of_the_eight_turns_has_its_own_word(rule: str) -> None:
    found = find_rule(rule)
    for before in range(8):
        assert len({found.word(Turn(before, after, "left")) for after in range(8)}) == 8


def test_a_view_depends_on_where_one_faces_and_the_compass_does_not() -> None:
    for before in range(8):
        turn = Turn(before, (before + 3) % 8, "right")
        assert find_rule("relative_8").word(turn) == "right behind"
        assert find_rule("clock").word(turn) == "4:30"
        assert find_rule("absolute").word(turn) == COMPASS[(before + 3) % 8]


def test_tokens_are_assigned_by_their_number_alone() -> None:
    assert find_rule("tokens_7") == find_rule("tokens_7")
    assigned = {find_rule(f"tokens_{k}").words for k in range(2000)}
    assert len(assigned) == 2000
    assert {word for words in assigned for word in words} == set(TOKENS)
    assert len(set(TOKENS)) == len(TOKENS)


def test_a_word_of_a_token_rule_means_nothing_elsewhere() -> None:
    others = {word for rule in RULES if not rule.startswith("tokens") for word in find_rule(rule).words}
    assert others.isdisjoint(TOKENS)
    assert not set(find_rule("clock").words) & set(find_rule("degrees").words)


@pytest.mark.parametrize("rule", RULES)
def test_what_words_mean_is_told_where_nobody_can_know_it(rule: str) -> None:
    found = find_rule(rule)
    assert all(word in found.terse for word in found.words)
    known = found.words in (COMPASS, SIDES) or rule == "relative"
    assert bool(found.legend) != known
    if found.frame is Frame.COMPASS and not known:
        assert f"north {found.words[0]}, northeast {found.words[1]}" in found.terse


@pytest.mark.parametrize(
    "name", ["absolut", "tokens", "tokens_", "tokens_01", "tokens_-1", "relative_4", "", "tokens_1 "]
)
def test_names_outside_the_grammar_are_refused(name: str) -> None:
    with pytest.raises(UnknownName):
        find_rule(name)
