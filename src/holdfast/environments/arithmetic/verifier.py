"""The judge: reads the final answer of a reply, and checks the steps beside it.

Only the answer decides. It is read in the asked style, else in whichever style states one last, else the reply is a
number alone. Bounded in time and memory: the last ``MAX_REPLY`` characters are read, numbers have six digits at most,
and no more than ``MAX_STEPS`` steps are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.environments.arithmetic.derivations import Step, is_valid
from holdfast.environments.arithmetic.expression import Tree
from holdfast.environments.arithmetic.problems import LEVELS
from holdfast.environments.arithmetic.styles import STYLES, Style, Told
from holdfast.records import Outcome, Verdict

MAX_REPLY = 2_000

REWARDS = {"correct": 5.0, "wrong_value": -1.0, "no_answer": -3.0, "wrong_format": -3.0}
"""On the scale of the points game."""


class Question(NamedTuple):
    """What a reply is judged against.

    Attributes:
        tree: The expression as the asked rule reads it.
        value: Its value.
        level: Its number of signs.
        style: The style that was asked for.
        style_required: Whether a reply that does not keep to it is refused.
        training_value: The value under the training rule; None if that is the same.
    """

    tree: Tree
    value: int
    level: int
    style: Style
    style_required: bool
    training_value: int | None


def verify(question: Question, reply: str) -> Verdict:
    """Judge ``reply``. Never raises."""
    text = reply[-MAX_REPLY:]
    told = question.style.read(text)
    kept = told is not None and told.kept and len(reply) <= MAX_REPLY
    if question.style_required and not kept:
        return _failed(question, None, "wrong_format", f"the answer is not in the style {question.style.name}")
    if told is None:
        told = _told_otherwise(text)
    if told is None:
        return _failed(question, None, "no_answer", "no answer was found")
    if told.answer == question.value:
        return Verdict(
            Outcome.CORRECT, REWARDS["correct"], "correct", "Correct.", _facts(question, told, kept, right=True)
        )
    return _failed(question, told, "wrong_value", _fault(told), kept=kept)


def _told_otherwise(text: str) -> Told | None:
    found = [told for style in STYLES.values() if (told := style.read(text)) is not None]
    if found:
        return max(found, key=lambda told: told.end)
    bare = _BARE.fullmatch(text)
    return Told(int(bare[1]), (), False, len(text)) if bare else None


_BARE = re.compile(r"\s{0,8}([0-9]{1,6})\.?\s{0,8}")


def _facts(question: Question, told: Told | None, kept: bool, *, right: bool) -> dict[str, bool | None]:
    steps = told.steps if told is not None else ()
    facts: dict[str, bool | None] = {
        "format_ok": kept,
        "arithmetic_right": all(step.is_right for step in steps) if steps else None,
        "steps_right": is_valid(question.tree, steps, told.answer) if told is not None and steps else None,
        "right_under_training_rule": None,
    }
    if question.training_value is not None:
        facts["right_under_training_rule"] = told is not None and told.answer == question.training_value
    for level in LEVELS:
        facts[f"right_at_level_{level}"] = right if level == question.level else None
    return facts


def _fault(told: Told) -> str:
    slip = next((step for step in told.steps if not step.is_right), None)
    if slip is not None:
        return f"{_words(slip)} is not {slip.result}"
    return f"the value is not {told.answer}"


def _words(step: Step) -> str:
    return f"{step.first} {_SIGN_WORDS[step.sign]} {step.second}"


_SIGN_WORDS = {"+": "plus", "-": "minus", "*": "times"}


def _failed(question: Question, told: Told | None, code: str, words: str, *, kept: bool = False) -> Verdict:
    outcome = Outcome.WRONG if told is not None else Outcome.UNPARSED
    facts = _facts(question, told, kept, right=False)
    return Verdict(outcome, REWARDS[code], code, f"That answer failed: {words}. Try again.", facts)


def messages() -> Iterator[str]:
    """Yield one example of each message, so that a vocabulary can be made of their words."""
    yield "Correct."
    reasons = ("the answer is not in the style", "no answer was found", "the value is not")
    for reason in (*reasons, *(f"3 {word} 4 is not" for word in _SIGN_WORDS.values())):
        yield f"That answer failed: {reason} 5. Try again."
