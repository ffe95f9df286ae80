"""The strict judge: finds the formula in a reply and checks it exactly.

Steps: (1) read the reply in the format that was asked for, else look for a ``"formula"`` field, else take the last
stretch that looks like a formula; (2) parse it (``formula.py``); (3) every card value is used exactly once; (4) the
exact value equals the target, and so does the number after ``=``, if there is one.

Bounded in time and memory: the reply is read up to ``MAX_REPLY`` characters, and numbers are checked before anything is
computed, so arithmetic happens on card values only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.environments.general_points.answer_formats import AnswerFormat, Stated
from holdfast.environments.general_points.formula import Formula, IllegalFormula, evaluate, read_formula
from holdfast.environments.general_points.solver import Values, postfix, solve
from holdfast.records import Outcome, Verdict

MAX_REPLY = 16_384

REWARDS = {
    "correct": 5.0,
    "wrong_value": -1.0,
    "wrong_claim": -1.0,
    "wrong_numbers": -2.0,
    "illegal_formula": -3.0,
    "no_formula": -3.0,
    "wrong_format": -3.0,
}
"""The published rewards by our codes (``wrong_claim`` and ``wrong_format`` are ours)."""


class Question(NamedTuple):
    """What a reply is judged against.

    Attributes:
        values: What the cards are worth under the asked rule, in dealt order.
        target: What the formula has to make.
        answer_format: The format that was asked for.
        format_required: Whether a reply in another format is refused.
        training_values: What the cards are worth under the training rule; None if the question does not differ from
            the training rule's, so that a right answer tells nothing.
        training_target: The target under the training rule.
        seen: Whether the values occur in training; None if unknown.
        shown: The ranks that a picture shows; None where the prompt names them.
        trained_on: The value multisets of training; None if unknown.
    """

    values: Values
    target: int
    answer_format: AnswerFormat
    format_required: bool
    training_values: Values | None
    training_target: int
    seen: bool | None
    shown: tuple[str, ...] | None = None
    trained_on: frozenset[Values] | None = None


def verify_strict(question: Question, reply: str) -> Verdict:
    """Judge ``reply``. Never raises; at most ``MAX_REPLY`` characters are read."""
    text = reply[:MAX_REPLY]
    stated = question.answer_format.read(text)
    kept = stated is not None
    if stated is None and not question.format_required:
        found = find_formula(text)
        stated = None if found is None else Stated(found, None)
    if stated is None:
        if question.format_required:
            words = f"the answer is not in the format {question.answer_format.name}"
            return _failed(question, "wrong_format", words, format_ok=False, numbers_ok=None, formula=None)
        return _failed(question, "no_formula", "no formula was found", format_ok=False, numbers_ok=None, formula=None)
    numbers_ok = numbers_agree(question, stated)
    try:
        formula = read_formula(stated.formula)
    except IllegalFormula as fault:
        return _failed(question, "illegal_formula", str(fault), format_ok=kept, numbers_ok=numbers_ok, formula=None)
    code, words = _judge(formula, question.values, question.target)
    if code == "correct":
        facts = facts_of(question, format_ok=kept, numbers_ok=numbers_ok, formula=formula)
        return Verdict(Outcome.CORRECT, REWARDS[code], code, "Correct.", facts)
    return _failed(question, code, words, format_ok=kept, numbers_ok=numbers_ok, formula=formula)


def find_formula(text: str) -> str | None:
    """Return the formula of a free reply: its ``"formula"`` field, else the last stretch that looks like one."""
    found = _FIELD.search(text)
    if found is not None:
        return found["formula"]
    last = None
    for stretch in _STRETCH.findall(text):
        if not _OPERATORS.isdisjoint(stretch) and not _DIGITS.isdisjoint(stretch):
            last = stretch
    return None if last is None else last.strip(" =")


_FIELD = re.compile('"formula" {0,4}: {0,4}"(?P<formula>[^"]*)"')
_STRETCH = re.compile(r"[-+*/()=0-9 ]+")
_OPERATORS = frozenset("+-*/")
_DIGITS = frozenset("0123456789")


def numbers_agree(question: Question, stated: Stated) -> bool | None:
    """Return whether the numbers a reply lists are the cards' worth; None if its format lists none."""
    if not question.answer_format.states_numbers:
        return None
    return stated.numbers is not None and sorted(stated.numbers) == sorted(question.values)


def facts_of(
    question: Question, *, format_ok: bool, numbers_ok: bool | None, formula: Formula | None
) -> dict[str, bool | None]:
    """Return the facts of a verdict; ``formula`` is None where none could be read."""
    under_training: bool | None = None
    if question.training_values is not None:
        under_training = (
            formula is not None and _judge(formula, question.training_values, question.training_target)[0] == "correct"
        )
    return {
        "format_ok": format_ok,
        "numbers_ok": numbers_ok,
        "right_under_training_rule": under_training,
        "values_seen_in_training": question.seen,
        "recites_training_solution": recites(question, formula),
    }


def recites(question: Question, formula: Formula | None) -> bool | None:
    """Return whether a reply says the very solution that training showed for some hand, brackets aside.

    None where training showed these values, so that a right answer recites, or where the training set is unknown.
    """
    if question.trained_on is None or question.seen:
        return None
    if formula is None:
        return False
    values = tuple(sorted(formula.numbers))
    if values not in question.trained_on:
        return False
    tree = solve(values, question.training_target)
    return tree is not None and formula.postfix == postfix(tree)


def _judge(formula: Formula, values: Values, target: int) -> tuple[str, str]:
    if sorted(formula.numbers) != sorted(values):
        return "wrong_numbers", _number_fault(formula.numbers, values)
    value = evaluate(formula)
    if value is None:
        return "wrong_value", "the formula divides by zero"
    if value != target:
        return "wrong_value", f"the formula makes {value} and not {target}"
    if formula.claim is not None and formula.claim != target:
        return "wrong_claim", f"the number after the equals sign is not {target}"
    return "correct", ""


def _number_fault(used: tuple[int, ...], values: Values) -> str:
    too_many, unused = Counter(used) - Counter(values), Counter(values) - Counter(used)
    foreign = sorted({number for number in too_many if number not in values})[:8]
    if foreign:
        return f"no card counts as {_listed(foreign)}"
    if too_many:
        return f"used too often: {_listed(sorted(too_many))}"
    return f"not used: {_listed(sorted(unused.elements()))}"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _failed(
    question: Question, code: str, words: str, *, format_ok: bool, numbers_ok: bool | None, formula: Formula | None
) -> Verdict:
    outcome = Outcome.UNPARSED if code in ("no_formula", "wrong_format") else Outcome.WRONG
    facts = facts_of(question, format_ok=format_ok, numbers_ok=numbers_ok, formula=formula)
    return Verdict(outcome, REWARDS[code], code, f"That answer failed: {words}. Try again.", facts)


def strict_messages() -> Iterator[str]:
    """Yield one example of each message, so that a vocabulary can be made of their words."""
    reasons = (
        "the answer is not in the format",
        "no formula was found",
        "the formula is longer than 400 characters",
        "an operator is missing before a number",
        "an operator is missing before a bracket",
        "the brackets are too deep",
        "a number is missing",
        "a bracket is closed that was never opened",
        "a bracket is never closed",
        "it holds a character other than digits and + - * / ( )",
        "the formula is too long",
        "a number has more than 6 digits",
        "a number begins with zero",
        "what follows the equals sign is not one whole number",
        "the formula divides by zero",
        "the formula makes 10 and not 24",
        "the number after the equals sign is not 24",
        "no card counts as 11, 12",
        "used too often: 3, 3",
        "not used: 3, 8",
    )
    yield "Correct."
    for reason in reasons:
        yield f"That answer failed: {reason}. Try again."
