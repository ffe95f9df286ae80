"""The arithmetic world: what expressions mean under each rule, their derivations, the judge and the splits."""

from __future__ import annotations

import json
import re
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.environments.arithmetic import Arithmetic
from holdfast.environments.arithmetic.derivations import Step, drawn, every, fixed, is_valid
from holdfast.environments.arithmetic.expression import MAX_VALUE, Chain, parse, value_of
from holdfast.environments.arithmetic.problems import belongs, deal, home_of, key_of, stream
from holdfast.environments.arithmetic.rules import RULES
from holdfast.environments.arithmetic.styles import STYLES
from holdfast.environments.base import SPLITS
from holdfast.errors import UnknownName, UserError
from holdfast.records import Outcome, Problem

USUAL = "times_first"
LEVELS = (1, 2, 3, 4)


def posed(expression: str, rule: str = USUAL, environment: Arithmetic | None = None) -> Problem:
    return (environment or Arithmetic()).pose(rule, expression, split="test")


def expressions(count: int, level: int | None = None) -> list[str]:
    return [deal("train", level or 1 + n % 4, stream("test", level, n))[0] for n in range(count)]


# By hand: (usual precedence, left to right, plus and minus first).
GOLDEN = {
    "7 - 3": (4, 4, 4),
    "2 + 3 * 4": (14, 20, 20),
    "3 * 4 + 2": (14, 14, 18),
    "9 - 2 * 3": (3, 21, 21),
    "9 - 4 - 3": (2, 2, 2),
    "9 - (4 - 3)": (8, 8, 8),
    "2 * (3 + 4) * 2": (28, 28, 28),
    "1 + 2 * 3 + 4": (11, 13, 21),
    "2 * 3 + 4 * 2": (14, 20, 28),
    "8 - 2 + 1 * 3 + 1": (10, 22, 28),
}


@pytest.mark.parametrize("expression", GOLDEN)
def test_a_rule_says_what_an_expression_comes_to(expression: str) -> None:
    assert tuple(value_of(parse(expression, rule)) for rule in RULES) == GOLDEN[expression]


@pytest.mark.parametrize("level", LEVELS)
def test_the_usual_rule_is_that_of_python(level: int) -> None:
    for expression in expressions(100, level):
        assert value_of(parse(expression, USUAL)) == by_python(expression)


def by_python(expression: str) -> int:
    import ast
    import operator

    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return int(signs[type(node.op)](walk(node.left), walk(node.right)))
        assert isinstance(node, ast.Constant)
        return int(str(node.value))

    return walk(ast.parse(expression, mode="eval").body)


def test_left_to_right_is_a_fold_where_there_are_no_brackets() -> None:
    plain = [expression for expression in expressions(400) if "(" not in expression]
    assert len(plain) > 200
    for expression in plain:
        first, *rest = expression.split(" ")
        value = int(first)
        for sign, number in zip(rest[::2], map(int, rest[1::2]), strict=True):
            value = value * number if sign == "*" else value + number if sign == "+" else value - number
        assert value_of(parse(expression, "left_to_right")) == value


def test_plus_first_is_a_product_of_sums_where_there_are_no_brackets() -> None:
    for expression in (each for each in expressions(400) if "(" not in each):
        value = 1
        for total in expression.split(" * "):
            value *= by_python(total)
        assert value_of(parse(expression, "plus_first")) == value


def test_all_derivations_of_a_sum_of_four_are_the_orders_of_its_three_signs() -> None:
    tree = parse("9 - 4 + 3 - 2", USUAL)
    told = {" ".join(f"{s.first}{s.sign}{s.second}={s.result}" for s in steps) for steps in every(tree)}
    # Minus 4 plus 3 would be minus 1, which is never written.
    assert told == {"9-4=5 5+3=8 8-2=6", "9-4=5 3-2=1 5+1=6", "3-2=1 9-4=5 5+1=6"}
    assert len(list(every(parse("1 + 2 + 3 + 4", USUAL)))) == 6


def test_independent_products_come_in_either_order() -> None:
    told = [[(s.first, s.sign, s.second) for s in steps] for steps in every(parse("2 * 3 + 4 * 5", USUAL))]
    assert told == [[(2, "*", 3), (4, "*", 5), (6, "+", 20)], [(4, "*", 5), (2, "*", 3), (6, "+", 20)]]
    assert fixed(parse("2 * 3 + 4 * 5", USUAL)) == (Step(2, "*", 3, 6), Step(4, "*", 5, 20), Step(6, "+", 20, 26))


def test_what_stands_in_brackets_is_worked_out_by_itself() -> None:
    for steps in every(parse("9 + (8 - 5) + 2", USUAL)):
        assert Step(8, "-", 5, 3) in steps
    assert len(list(every(parse("9 - (4 + 3)", USUAL)))) == 1


@pytest.mark.parametrize("rule", RULES)
def test_every_derivation_stays_in_bounds_and_is_valid(rule: str) -> None:
    for expression in expressions(240):
        tree = parse(expression, rule)
        value = value_of(tree)
        assert value is not None
        ways = list(every(tree))
        assert fixed(tree) in ways
        assert drawn(tree, Random(0)) in ways
        for steps in ways:
            assert all(0 <= step.result <= MAX_VALUE for step in steps), (expression, steps)
            assert is_valid(tree, steps, value), (expression, steps)
            assert not is_valid(tree, steps[:-1], value) or len(steps) == 0
            assert not is_valid(tree, steps, value + 1)


def test_steps_of_another_rule_or_with_a_slip_are_not_valid() -> None:
    tree = parse("2 + 3 * 4", USUAL)
    assert is_valid(tree, [Step(3, "*", 4, 12), Step(2, "+", 12, 14)], 14)
    assert is_valid(tree, [Step(4, "*", 3, 12), Step(12, "+", 2, 14)], 14)  # either order says the same
    assert not is_valid(tree, [Step(2, "+", 3, 5), Step(5, "*", 4, 20)], 20)
    assert not is_valid(tree, [Step(3, "*", 4, 13), Step(2, "+", 13, 15)], 15)
    assert not is_valid(tree, [Step(2, "+", 12, 14)], 14)
    assert not is_valid(tree, [Step(3, "*", 4, 12), Step(3, "*", 4, 12), Step(2, "+", 12, 14)], 14)
    assert not is_valid(parse("9 - 4", USUAL), [Step(4, "-", 9, -5)], -5)


def test_a_number_that_occurs_twice_may_be_meant_at_either_place() -> None:
    tree = parse("6 - 6 + 6 * 2", "plus_first")  # the middle 6 and the last one make 0, to be added or taken away
    assert is_valid(tree, [Step(6, "-", 6, 0), Step(6, "+", 0, 6), Step(6, "*", 2, 12)], 12)
    assert is_valid(tree, [Step(6, "-", 6, 0), Step(6, "-", 0, 6), Step(6, "*", 2, 12)], 12)
    assert is_valid(tree, [Step(6, "-", 6, 0), Step(0, "+", 6, 6), Step(6, "*", 2, 12)], 12)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("solution", ["fixed", "any"])
def test_a_demonstration_keeps_its_style_and_all_of_its_steps_are_read(style: str, solution: str) -> None:
    environment = Arithmetic(style=style, solution=solution, mode="strict_format")
    for index in range(120):
        problem = environment.sample("plus_first", "train", index, seed=0)
        told = environment.demonstrate(problem)
        verdict = environment.verify(problem, told)
        assert verdict.outcome is Outcome.CORRECT, (told, verdict)
        assert verdict.facts["format_ok"] is True
        assert verdict.facts["steps_right"] is True, (problem, told)
        read = STYLES[style].read(told)
        assert read is not None
        assert len(read.steps) == problem.facts["level"]


@pytest.mark.parametrize("style", STYLES)
def test_a_demonstration_is_of_no_other_style(style: str) -> None:
    for index in range(40):
        problem = Arithmetic(style=style).sample(USUAL, "train", index, seed=0)
        told = Arithmetic(style=style).demonstrate(problem)
        for other in STYLES:
            if other != style:
                verdict = Arithmetic(style=other, mode="strict_format").verify(problem, told)
                assert verdict.outcome is Outcome.UNPARSED, (told, other)
                free = Arithmetic(style=other).verify(problem, told)
                assert free.outcome is Outcome.CORRECT, (told, other)
                assert free.facts["format_ok"] is False


def test_any_draws_many_derivations_and_fixed_only_one() -> None:
    expression = "2 * 3 + 4 * 5 + 1"
    many, one = (Arithmetic(solution=solution) for solution in ("any", "fixed"))
    problems = [many.pose(USUAL, expression, split="train", index=index) for index in range(200)]
    assert len({one.demonstrate(problem) for problem in problems}) == 1
    told = [many.demonstrate(problem) for problem in problems]
    assert len(set(told)) > 150
    paths = {tuple(read.steps) for text in told if (read := STYLES["sentences"].read(text))}
    assert paths == set(every(parse(expression, USUAL)))
    assert told == [many.demonstrate(problem) for problem in problems]


@pytest.mark.parametrize("level", [3, 4])
def test_most_longer_problems_have_several_derivations(level: int) -> None:
    ways = [len(set(every(parse(expression, USUAL)))) for expression in expressions(200, level)]
    assert sum(count > 1 for count in ways) > 100
    assert max(ways) >= 6


@pytest.mark.parametrize("level", [2, 3, 4])
def test_the_rule_matters_in_most_problems(level: int) -> None:
    values = [[value_of(parse(expression, rule)) for rule in RULES] for expression in expressions(300, level)]
    assert sum(usual != plus for usual, _, plus in values) > 180
    assert sum(usual != left for usual, left, _ in values) > 60
    assert sum(len(set(each)) > 1 for each in values) > 210


def test_a_right_answer_of_the_training_rule_is_recognized() -> None:
    environment = Arithmetic(rules=(USUAL, "plus_first"))
    problem = posed("2 + 3 * 4", "plus_first", environment)
    old = environment.verify(problem, "3 times 4 is 12. Then 2 plus 12 is 14. The answer is 14.")
    assert old.outcome is Outcome.WRONG
    assert old.facts["right_under_training_rule"] is True
    assert old.facts["arithmetic_right"] is True
    assert old.facts["steps_right"] is False
    other = environment.verify(problem, "The answer is 15.")
    assert other.facts["right_under_training_rule"] is False
    assert other.facts["steps_right"] is None
    for same in (posed("2 + 3 * 4", USUAL, environment), posed("2 + 3", "plus_first", environment)):
        assert environment.verify(same, "The answer is 14.").facts["right_under_training_rule"] is None


@pytest.mark.parametrize(
    ("reply", "outcome", "code"),
    [
        ("The answer is 14.", Outcome.CORRECT, "correct"),
        (" 14 \n", Outcome.CORRECT, "correct"),
        ("14.", Outcome.CORRECT, "correct"),
        ("The answer is 20. So the answer is 14.", Outcome.CORRECT, "correct"),  # the last one counts
        ("The answer is 14. The answer is 20.", Outcome.WRONG, "wrong_value"),
        ("The answer is 14. Altogether 20.", Outcome.CORRECT, "correct"),  # the asked style is read first
        ("3 * 4 = 12; answer 14", Outcome.CORRECT, "correct"),
        ("The answer is 114.", Outcome.WRONG, "wrong_value"),
        ("The answer is 14", Outcome.UNPARSED, "no_answer"),  # cut off
        ("2 plus 12 is 14.", Outcome.UNPARSED, "no_answer"),
        ("2 + 3 * 4", Outcome.UNPARSED, "no_answer"),
        ("-14", Outcome.UNPARSED, "no_answer"),
        ("", Outcome.UNPARSED, "no_answer"),
        ("The answer is 1414141414141414141414.", Outcome.UNPARSED, "no_answer"),
        ("answer 1414141", Outcome.UNPARSED, "no_answer"),
        ("I think. " * 1_000 + "The answer is 14.", Outcome.CORRECT, "correct"),  # of a long reply the end is read
    ],
)  # fmt: skip
def test_only_the_stated_answer_decides(reply: str, outcome: Outcome, code: str) -> None:
    verdict = Arithmetic().verify(posed("2 + 3 * 4"), reply)
    assert (verdict.outcome, verdict.code) == (outcome, code)


def test_a_right_answer_after_a_slip_is_correct_but_its_steps_are_not_right() -> None:
    verdict = Arithmetic().verify(posed("2 + 3 * 4"), "First 3 times 4 is 13. Then 2 plus 12 is 14. The answer is 14.")
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.facts["format_ok"] is True
    assert verdict.facts["arithmetic_right"] is False
    assert verdict.facts["steps_right"] is False


def test_a_message_names_a_slip_and_never_the_value() -> None:
    said = Arithmetic().verify(posed("2 + 3 * 4"), "3 times 4 is 13. 2 plus 13 is 15. The answer is 15.").message
    assert said == "That answer failed: 3 times 4 is not 13. Try again."
    said = Arithmetic().verify(posed("2 + 3 * 4"), "2 plus 3 is 5. 5 times 4 is 20. The answer is 20.").message
    assert said == "That answer failed: the value is not 20. Try again."


def test_success_is_told_by_level() -> None:
    facts = Arithmetic().verify(posed("2 + 3 * 4"), "The answer is 14.").facts
    assert {level: facts[f"right_at_level_{level}"] for level in LEVELS} == {1: None, 2: True, 3: None, 4: None}


HOSTILE = [
    "(" * 100_000,
    "2 plus 3 is " * 20_000,
    "First " * 20_000 + "2 plus 3 is 5. The answer is 5.",
    "The answer is " * 20_000,
    "9" * 100_000,
    "1 + 1 = 2; " * 20_000,
    "with 1 and 2, the sum makes " * 5_000,
    "The answer is ٣.",
    "6 plus 6 is 12. " * 120 + "The answer is 5.",
]


@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_judged_in_a_moment(reply: str) -> None:
    start = time.process_time()
    for style in STYLES:
        verdict = Arithmetic(style=style).verify(posed("6 + 6 - 6 + 6 - 6"), reply)
        assert verdict.outcome is not Outcome.CORRECT
        assert verdict.facts["steps_right"] is not True
    assert time.process_time() - start < 0.5


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.sampled_from(["2", "3", "5", "plus", "times", "is", ".", "The answer is", "5.", "6."]), max_size=24))
def test_steps_are_right_only_if_the_answer_is(words: list[str]) -> None:
    verdict = Arithmetic().verify(posed("2 + 3"), " ".join(words))
    if verdict.facts["steps_right"]:
        assert verdict.outcome is Outcome.CORRECT
        assert verdict.facts["arithmetic_right"]


def test_one_problem_is_asked_under_every_rule() -> None:
    environment = Arithmetic()
    for index in range(30):
        asked = [environment.sample(rule, "test", index, seed=1) for rule in RULES]
        assert len({problem.facts["expression"] for problem in asked}) == 1
        assert len({problem.key for problem in asked}) == 1


def test_an_expression_is_of_one_split_whatever_its_order_and_brackets() -> None:
    assert posed("(2 + 3) * 4").key == posed("4 * 3 + 2").key == key_of([2, 3, 4], "+*")
    shares = [home_of(key_of([a, b, c], signs)) for a in range(9) for b in range(a, 9) for c in range(b, 9) for signs in
              ("++", "+*", "*-")]  # fmt: skip
    assert 0.5 < shares.count("train") / len(shares) < 0.7
    for split in SPLITS:
        for index in range(100):
            problem = Arithmetic().sample(USUAL, split, index, seed=0)
            assert belongs(problem.key, split)
            assert belongs(problem.key, "pretraining") or split != "recall"


def test_levels_can_be_chosen() -> None:
    environment = Arithmetic(levels=(4, 2, 2))
    assert environment.levels == (2, 4)
    found = [environment.sample(USUAL, "train", index, seed=0) for index in range(60)]
    assert {problem.facts["level"] for problem in found} == {2, 4}
    for problem in found:
        assert len(re.findall(r"[-+*]", problem.facts["expression"])) == problem.facts["level"]
    assert {Arithmetic().sample(USUAL, "train", index, seed=0).facts["level"] for index in range(60)} == set(LEVELS)


@pytest.mark.parametrize("prompt_style", ["plain", "terse", *(f"paraphrase_{number}" for number in range(1, 6))])
def test_a_prompt_says_rule_expression_and_style(prompt_style: str) -> None:
    environment = Arithmetic(prompt_style=prompt_style, style="nouns")
    for rule in RULES:
        (message,) = environment.prompt(posed("2 + 3 * 4", rule, environment))
        assert RULES[rule].words in message["content"]
        assert "2 + 3 * 4" in message["content"]
        assert ("Altogether" if prompt_style == "plain" else "nouns") in message["content"]


@pytest.mark.parametrize(
    "options",
    [
        {"style": "foregn"}, {"solution": "all"}, {"mode": "legacy"}, {"prompt_style": "paper"}, {"levels": [5]},
        {"levels": []}, {"rules": []}, {"rules": "times_first"}, {"rules": ["right_to_left"]},
    ],
)  # fmt: skip
def test_an_impossible_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Arithmetic(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expression",
    [
        "", "2 +", "2 3", "(2 + 3", "2 + 3)", "2 / 3", "((", "2" * 200, "5", "1 + 1 + 1 + 1 + 1 + 1",
        "3 - 9", "9 * 9 * 9", "9 * 9 - 9 + 9 * 3", "9 * 9 * 2 * (3 - 3)",
    ],
)  # fmt: skip
def test_an_expression_that_is_none_or_leaves_the_bounds_is_refused(expression: str) -> None:
    with pytest.raises(UserError):
        posed(expression)


def test_an_unknown_name_is_corrected() -> None:
    with pytest.raises(UnknownName, match="foreign"):
        Arithmetic(style="foregn")


def test_a_chain_survives_json() -> None:
    problem = posed("(2 + 3) * 4")
    assert json.loads(json.dumps(dict(problem.facts))) == problem.facts
    assert isinstance(parse("(2 + 3) * 4", USUAL), Chain)


def test_what_is_dealt_stays_the_same() -> None:
    # Another draw here would be other data under the name of a base that learned from these.
    environment = Arithmetic()
    dealt = [environment.sample(USUAL, "train", index, seed=0) for index in range(3)]
    assert [problem.facts["expression"] for problem in dealt] == [
        "4 + (9 - 6) * 2 + 7", "4 + 1 * 5", "2 + (3 - 2) + 1 * 9",
    ]  # fmt: skip
    told = environment.demonstrate(environment.sample("plus_first", "train", 2, seed=0))
    assert (
        told == "First 3 minus 2 makes 1. 1 plus 1 is 2. Now 2 plus 2 makes 4. Then 4 times 9 is 36. The answer is 36."
    )
