from __future__ import annotations

import time

import pytest

from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.general_points.answer_formats import ANSWER_FORMATS
from holdfast.environments.general_points.verifier import REWARDS
from holdfast.errors import UserError
from holdfast.records import Outcome, Problem, Verdict

# J 7 3 Q: 10 7 3 10 under the training rule, 11 7 3 12 under the other.
HAND = [(11, 0), (7, 1), (3, 2), (12, 3)]


def problem(environment: GeneralPoints, rule: str = "faces_as_11_12_13") -> Problem:
    return environment.pose(rule, [(4, 0), (3, 1), (2, 2), (10, 3)], split="test")


def judged(reply: str, **options: object) -> Verdict:
    environment = GeneralPoints(answer_format="formula", **options)  # type: ignore[arg-type]
    return environment.verify(problem(environment), reply)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("4*3+2+10", "correct"),
        ("4*3+2+10=24", "correct"),
        ("(4 * 3) + (2 + 10) = 24", "correct"),
        ("I think that 4*3+2+10=24 is it.", "correct"),
        ("first 4*3=12\nthen 4*3+2+10=24", "correct"),
        ('{"formula": "4*3+2+10"}', "correct"),
        ('{\n  "cards": [],\n  "formula": "4*3+2+10=24",\n}', "correct"),
        ("4*3+2+10=25", "wrong_claim"),
        ("4+3+2+10", "wrong_value"),
        ("4+3+2+10=24", "wrong_value"),
        ("10/(4-2*3+2)", "wrong_numbers"),
        ("4*3+2", "wrong_numbers"),
        ("4*3+2+11", "wrong_numbers"),
        ("4*3+2+10+10", "wrong_numbers"),
        ("24", "wrong_numbers"),
        ("4*3+2+(10", "illegal_formula"),
        ("4**3+2+10", "illegal_formula"),
        ("04*3+2+10", "illegal_formula"),
        ("24=4*3+2+10", "illegal_formula"),
        ("4*3*10/(2-2)", "wrong_numbers"),
        ("", "no_formula"),
        ("no", "no_formula"),
        ("ten plus two plus four times three", "no_formula"),
    ],
)
def test_a_reply_is_judged_as_it_deserves(reply: str, code: str) -> None:
    verdict = judged(reply)
    assert verdict.code == code, verdict
    assert verdict.reward == REWARDS[code]
    expected = {"correct": Outcome.CORRECT, "no_formula": Outcome.UNPARSED}.get(code, Outcome.WRONG)
    assert verdict.outcome is expected


def test_three_three_eight_eight_is_exact() -> None:
    environment = GeneralPoints(answer_format="formula")
    asked = environment.pose("faces_as_10", [(3, 0), (3, 1), (8, 2), (8, 3)], split="test")
    assert environment.verify(asked, "8/(3-8/3)").outcome is Outcome.CORRECT
    assert environment.verify(asked, "8/(3-8/3)+0").code == "wrong_numbers"
    assert environment.verify(asked, "8/(8-8)*3").code == "wrong_numbers"
    assert environment.verify(asked, "8/(3-3)*8").code == "wrong_value"


def test_messages_name_what_was_wrong() -> None:
    assert judged("4*3+2+11").message == "That answer failed: no card counts as 11. Try again."
    assert judged("4*3+2+10+10").message == "That answer failed: used too often: 10. Try again."
    assert judged("4*3+2").message == "That answer failed: not used: 10. Try again."
    assert judged("4+3+2+10").message == "That answer failed: the formula makes 19 and not 24. Try again."
    assert judged("4*3+2+10").message == "Correct."


def test_an_old_rule_answer_is_recognized() -> None:
    environment = GeneralPoints(answer_format="formula")
    # Q 2 3 A: 10 2 3 1 under the training rule, 12 2 3 1 under the asked one.
    hand = [(12, 0), (2, 1), (3, 2), (1, 3)]
    asked = environment.pose("faces_as_11_12_13", hand, split="test")
    old = environment.demonstrate(environment.pose("faces_as_10", hand, split="test"))
    verdict = environment.verify(asked, old)
    assert verdict.code == "wrong_numbers"
    assert verdict.facts["right_under_training_rule"] is True
    right = environment.verify(asked, environment.demonstrate(asked))
    assert right.facts["right_under_training_rule"] is False
    assert environment.verify(asked, "no idea").facts["right_under_training_rule"] is False


def test_the_training_rule_tells_nothing_where_both_rules_agree() -> None:
    environment = GeneralPoints(answer_format="formula")
    without_faces = problem(environment)
    assert environment.verify(without_faces, "4*3+2+10").facts["right_under_training_rule"] is None
    trained = environment.sample("faces_as_10", "train", 0, seed=0)
    assert environment.verify(trained, "1+1").facts["right_under_training_rule"] is None


def test_another_target_is_another_question() -> None:
    environment = GeneralPoints(rules=("faces_as_10", "target_36"), answer_format="formula")
    asked = environment.pose("target_36", [(4, 0), (3, 1), (2, 2), (10, 3)], split="test")
    verdict = environment.verify(asked, "4*3+2+10=24")
    assert verdict.code == "wrong_value"
    assert verdict.facts["right_under_training_rule"] is True
    assert environment.verify(asked, environment.demonstrate(asked)).outcome is Outcome.CORRECT


def test_training_values_are_known_and_test_values_are_not_seen() -> None:
    environment = GeneralPoints()
    for index in range(100):
        for split, seen in [("train", True), ("test", False), ("validation", False)]:
            asked = environment.sample("faces_as_10", split, index, seed=0)
            assert environment.verify(asked, "").facts["values_seen_in_training"] is seen


def test_a_training_hand_under_another_rule_need_not_have_training_values() -> None:
    environment = GeneralPoints(min_faces=1)
    for index in range(100):
        asked = environment.sample("faces_as_11_12_13", "train", index, seed=0)
        assert environment.verify(asked, "").facts["values_seen_in_training"] is False


@pytest.mark.parametrize("name", [name for name, form in ANSWER_FORMATS.items() if form.states_numbers])
def test_stated_numbers_are_checked_apart_from_the_formula(name: str) -> None:
    environment = GeneralPoints(answer_format=name)
    asked = environment.pose("faces_as_10", [(4, 0), (3, 1), (2, 2), (10, 3)], split="test")
    right = environment.demonstrate(asked)
    assert environment.verify(asked, right).facts["numbers_ok"] is True
    for listed in ("4, 3, 2, 10", "4 3 2 10"):
        off = right.replace(listed, listed.replace("2", "5"), 1)
        if off != right:
            verdict = environment.verify(asked, off)
            assert verdict.outcome is Outcome.CORRECT
            assert verdict.facts["numbers_ok"] is False


@pytest.mark.parametrize("asked_format", ANSWER_FORMATS)
@pytest.mark.parametrize("used_format", ANSWER_FORMATS)
def test_a_right_formula_in_another_format_counts_only_in_strict_mode(asked_format: str, used_format: str) -> None:
    hand = [(4, 0), (3, 1), (2, 2), (10, 3)]
    user = GeneralPoints(answer_format=used_format)
    reply = user.demonstrate(user.pose("faces_as_10", hand, split="test"))
    kept = asked_format == used_format or (used_format, asked_format) == ("object", "json")
    for mode in ("strict", "strict_format"):
        environment = GeneralPoints(answer_format=asked_format, mode=mode)
        verdict = environment.verify(environment.pose("faces_as_10", hand, split="test"), reply)
        assert verdict.facts["format_ok"] is kept
        accepted = kept or mode == "strict"
        assert verdict.outcome is (Outcome.CORRECT if accepted else Outcome.UNPARSED)
        assert verdict.code == ("correct" if accepted else "wrong_format")


@pytest.mark.parametrize("mode", ["strict", "strict_format", "legacy"])
@pytest.mark.parametrize(
    "reply",
    [
        "9" * 1_000_000,
        "(" * 1_000_000,
        "1+" * 500_000,
        '{"formula": "' + "(" * 1_000_000,
        '"formula": "' * 80_000,
        " " * 1_000_000,
        "1=1; " * 200_000,
        "values: " + " " * 1_000_000,
        "[" * 1_000_000,
        "A=1 " * 250_000,
    ],
    ids=range(10),
)
def test_a_megabyte_is_judged_in_a_moment(reply: str, mode: str) -> None:
    for name in ANSWER_FORMATS if mode != "legacy" else ["json"]:
        environment = GeneralPoints(answer_format=name, mode=mode)
        asked = environment.pose("faces_as_10", HAND, split="test")
        environment.verify(asked, "")
        begin = time.perf_counter()
        assert environment.verify(asked, reply).outcome is not Outcome.CORRECT
        assert time.perf_counter() - begin < 0.25


def test_legacy_mode_refuses_what_the_published_judge_cannot_read() -> None:
    for options in ({"n_cards": 5}, {"answer_format": "steps"}, {"rules": ("faces_as_10", "red_negative")}):
        with pytest.raises(UserError, match="legacy"):
            GeneralPoints(mode="legacy", **options)


def test_a_reply_recites_where_it_says_the_solution_of_values_that_training_showed() -> None:
    environment = GeneralPoints(answer_format="formula")
    shown = environment.sample("faces_as_10", "train", 0, seed=0)
    other = environment.sample("faces_as_11_12_13", "test", 0, seed=0)
    fact = "recites_training_solution"
    assert environment.verify(other, environment.demonstrate(shown)).facts[fact] is True
    assert environment.verify(other, environment.demonstrate(other)).facts[fact] is False
    assert environment.verify(other, "no formula").facts[fact] is False
    assert environment.verify(shown, environment.demonstrate(shown)).facts[fact] is None
