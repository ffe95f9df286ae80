"""The published judge, reproduced: rewards, order of checks, parsing and reason codes of Chu et al. (2025).

Kept on purpose: floating-point equality (``8/(3-8/3)`` earns 0), reading up to the first ``=``, no blanks allowed, the
regular expressions tried where the reply is not valid JSON, and penalties that add up. The messages are in our words,
joined as published (``a, b.``). Different: a number where the formula's text should stand counts as no formula (the
published code crashes), and brackets deeper than ``formula.MAX_DEPTH`` count as an error of evaluation.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import permutations, product
from typing import NamedTuple, TypeAlias

from holdfast.environments.general_points.answer_formats import Stated
from holdfast.environments.general_points.formula import Formula, IllegalFormula, evaluate, read_formula
from holdfast.environments.general_points.recognition import recognized_as_published
from holdfast.environments.general_points.solver import Values
from holdfast.environments.general_points.verifier import MAX_REPLY, Question, facts_of, numbers_agree
from holdfast.records import Outcome, Verdict

WRONG_CARDS = -1.5
CODES = {
    5: "correct",
    1: "partial_solution",
    -1: "no_solution",
    WRONG_CARDS: "wrong_cards",
    -2: "incorrect_number",
    -3: "illegal_formula",
}
"""Reward to reason, as published; any other sum of penalties is ``aggregated_error``."""

NOTHING = "None"
"""What the published parser returns where a field is not found."""

_FORMULA = re.compile(r'"formula": "([^"\n]*)"')
_LEGAL = frozenset("0123456789+-*/()")
_TOKEN = re.compile(r"[0-9]+|[-+*/()]")
_LISTED = 8


class Judged(NamedTuple):
    """Reward, and what was said for each finding, in order."""

    reward: float
    findings: tuple[str, ...]

    @property
    def message(self) -> str:
        """The findings joined as published."""
        return f"{', '.join(self.findings)}."


def verify_legacy(question: Question, reply: str) -> Verdict:
    """Judge ``reply`` as published. Never raises; at most ``MAX_REPLY`` characters are read."""
    text = reply[:MAX_REPLY]
    formula = read_reply(text)
    values, target = question.values, question.target
    if question.shown is not None and not recognized_as_published(text, question.shown):
        judged = Judged(WRONG_CARDS, ("these are not the cards of the picture",))
    else:
        judged = judge(formula, values, target, lambda: listed_solutions(tuple(sorted(values)), target))
    outcome = Outcome.CORRECT if judged.reward == 5 else Outcome.WRONG
    if formula == NOTHING:
        outcome = Outcome.UNPARSED
    stated = question.answer_format.read(text)
    facts = facts_of(
        question,
        format_ok=stated is not None,
        numbers_ok=numbers_agree(question, Stated("", None) if stated is None else stated),
        formula=_exact(formula),
    )
    solved = outcome is Outcome.CORRECT
    message = "Correct." if solved else f"That answer failed: {judged.message}"
    return Verdict(outcome, float(judged.reward), CODES.get(judged.reward, "aggregated_error"), message, facts)


def read_reply(text: str) -> str:
    """Return the formula up to its first ``=``: from the JSON field, else by regular expression, else ``"None"``."""
    try:
        field = json.loads(text)["formula"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        found = _FORMULA.search(text)
        field = NOTHING if found is None else found[1]
    return field.partition("=")[0] if isinstance(field, str) else NOTHING


def judge(formula: str, values: Values, target: int, solutions: Callable[[], Sequence[str]]) -> Judged:
    """Return the published reward of ``formula``.

    Args:
        formula: The text before the first ``=``.
        values: What the cards are worth.
        target: What the formula has to make.
        solutions: Returns the known solutions, sorted; called only where a legal formula is wrong.
    """
    if not _LEGAL.issuperset(formula):
        return Judged(-3, ("it holds characters that are not allowed",))
    symbols = _TOKEN.findall(formula)
    findings = list(_grammar_faults(symbols))
    reward = -3 * len(findings)
    for finding in _number_faults([symbol for symbol in symbols if symbol not in "+-*/()"], values):
        findings.append(finding)
        reward -= 2
    if reward:
        return Judged(reward, tuple(findings))
    value = _as_floats(formula)
    if value is not None and value == target:
        return Judged(5, ("solved",))
    prefix = longest_prefix(formula, solutions())
    if prefix == formula:
        return Judged(1, ("a correct beginning",)) if value is None else Judged(0, ())
    if prefix:
        return Judged(-1, (f"{prefix} is a correct beginning but the whole formula is no solution",))
    return Judged(-1, ("the formula is like no solution",))


def longest_prefix(formula: str, solutions: Sequence[str]) -> str:
    """Return the longest beginning that ``formula`` shares with one of the sorted ``solutions``."""
    place = bisect_left(solutions, formula)  # whatever shares most with it stands next to it
    near = solutions[max(place - 1, 0) : place + 1]
    return max((_shared_beginning(formula, solution) for solution in near), key=len, default="")


def _shared_beginning(one: str, other: str) -> str:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return one[:length]


def _grammar_faults(symbols: Sequence[str]) -> Iterator[str]:
    depth = 0
    before = "("  # a formula begins as the inside of a bracket does
    for symbol in symbols:
        ended = before == ")" or before not in "+-*/("
        if symbol == "(":
            if ended:
                yield "wrong order before an opening bracket"
            depth += 1
        elif symbol == ")":
            if depth == 0:
                yield "a closing bracket has no partner"
            elif not ended:
                yield "wrong order after an operator"
            depth = max(depth - 1, 0)
        elif symbol in "+-*/":
            if not ended:
                yield "wrong order after an operator"
        elif ended:
            yield "wrong order after a closing bracket" if before == ")" else "wrong order after a number"
        before = symbol


def _number_faults(numbers: Sequence[str], values: Values) -> Iterator[str]:
    # Compared without leading zeros and as text: a number may have thousands of digits.
    used = Counter(number.lstrip("0") or "0" for number in numbers)
    cards = Counter(str(value) for value in values)
    foreign = [number[:6] for number in used if number not in cards]
    if foreign:
        yield f"these numbers are not on the cards: [{', '.join(foreign[:_LISTED])}]"
    elif too_often := sorted(used - cards):
        yield f"these numbers are used too often: [{', '.join(too_often[:_LISTED])}]"
    if unused := sorted((cards - used).elements()):
        yield f"these numbers are left out: [{', '.join(unused)}]"


def _exact(formula: str) -> Formula | None:
    try:
        return read_formula(formula)
    except IllegalFormula:
        return None


def _as_floats(formula: str) -> float | None:
    """Return the value as Python computes it, with floating-point division; None where Python would raise."""
    parsed = _exact(formula)
    if parsed is None:
        return None
    stack: list[float] = []
    for symbol in parsed.postfix:
        if isinstance(symbol, int):
            stack.append(symbol)
            continue
        right, left = stack.pop(), stack.pop()
        if symbol == "/" and right == 0:
            return None
        stack.append(_step(symbol, left, right))
    return stack[0]


def _step(operator: str, left: float, right: float) -> float:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


Shape: TypeAlias = "int | tuple[Shape, ...]"

BRACKETINGS: tuple[Shape, ...] = (
    (0, 1, 2, 3),
    ((0, 1), 2, 3),
    (0, (1, 2), 3),
    (0, 1, (2, 3)),
    ((0, 1), (2, 3)),
    ((0, 1, 2), 3),
    (0, (1, 2, 3)),
    (((0, 1), 2), 3),
    ((0, (1, 2)), 3),
    (0, ((1, 2), 3)),
    (0, (1, (2, 3))),
)
"""Where the published solver puts brackets around four numbers, redundant ones included."""


@lru_cache(maxsize=4096)
def listed_solutions(values: Values, target: int) -> tuple[str, ...]:
    """Return the solutions the published solver lists for four ``values`` (all orders and bracketings), sorted.

    Needed only to tell a beginning of a solution from a plainly wrong formula. Bracketings that group alike under the
    operators' precedence are computed once.
    """
    found = []
    for numbers in sorted(set(permutations(values))):
        for operators, alike in _groupings().items():
            for grouping, shapes in alike.items():
                value = _value(grouping, numbers, operators)
                # Floats only sift; what is listed is decided exactly.
                if value is not None and abs(value - target) < 1e-6:
                    texts = [_shape_text(shape, numbers, operators) for shape in shapes]
                    if evaluate(read_formula(texts[0])) == target:
                        found.extend(texts)
    return tuple(sorted(found))


def _last_leaf(shape: Shape) -> int:
    return shape if isinstance(shape, int) else _last_leaf(shape[-1])


def _grouping(shape: Shape, operators: Sequence[str]) -> Shape:
    """Return ``shape`` in pairs, as precedence groups it: ``0+1*2`` becomes ``(0, (1, 2))``."""
    if isinstance(shape, int):
        return shape
    parts = [_grouping(part, operators) for part in shape]
    for level in ("*/", "+-"):
        place = 0
        while place + 1 < len(parts):
            if operators[_last_leaf(parts[place])] in level:
                parts[place : place + 2] = [(parts[place], parts[place + 1])]
            else:
                place += 1
    return parts[0]


@cache
def _groupings() -> dict[tuple[str, ...], dict[Shape, list[Shape]]]:
    table: dict[tuple[str, ...], dict[Shape, list[Shape]]] = {}
    for operators in product("+-*/", repeat=3):
        alike = table.setdefault(operators, {})
        for shape in BRACKETINGS:
            alike.setdefault(_grouping(shape, operators), []).append(shape)
    return table


def _value(grouping: Shape, numbers: Values, operators: Sequence[str]) -> float | None:
    if isinstance(grouping, int):
        return numbers[grouping]
    left, right = _value(grouping[0], numbers, operators), _value(grouping[1], numbers, operators)
    operator = operators[_last_leaf(grouping[0])]
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    return _step(operator, left, right)


def _shape_text(shape: Shape, numbers: Values, operators: Sequence[str]) -> str:
    if isinstance(shape, int):
        return str(numbers[shape])
    pieces = []
    for part in shape:
        text = _shape_text(part, numbers, operators)
        pieces.append(text if isinstance(part, int) else f"({text})")
        if part is not shape[-1]:
            pieces.append(operators[_last_leaf(part)])
    return "".join(pieces)


def legacy_messages() -> Iterator[str]:
    """Yield one example of each message, so that a vocabulary can be made of their words."""
    yield "Correct."
    for findings in (
        ("it holds characters that are not allowed",),
        ("wrong order before an opening bracket", "wrong order after an operator"),
        ("wrong order after a closing bracket", "wrong order after a number"),
        ("a closing bracket has no partner",),
        ("these numbers are not on the cards: [9]", "these numbers are left out: [10, 2]"),
        ("these numbers are used too often: [10]",),
        ("a correct beginning",),
        ("4 is a correct beginning but the whole formula is no solution",),
        ("the formula is like no solution",),
    ):
        yield f"That answer failed: {Judged(0, findings).message}"
