"""The strict judge: finds the action in a reply and compares it with the right one.

Steps: (1) read the reply in the format that was asked for, else take the last action that stands in it; (2) compare.
Blanks and quotes around words do not matter. A reply is read up to ``MAX_REPLY`` characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from holdfast.environments.navigation.answer_formats import Answer, AnswerFormat, find_action, read_action
from holdfast.environments.navigation.rules import FORWARD, STOP, Rule
from holdfast.records import Outcome, Verdict

MAX_REPLY = 16_384

REWARDS = {"correct": 1.0, "wrong_action": -1.0, "not_in_action_space": -1.0, "no_action": -1.0, "wrong_format": -1.0}
"""The published rewards by our codes."""

OTHER, UNPARSED = "other", "unparsed"


class Question(NamedTuple):
    """What a reply at one point of a route is judged against.

    Attributes:
        right: What a right reply says.
        rule: The asked rule.
        training_rule: The training rule; None if it is asked.
        training_action: The right action under the training rule; None if it is the same, so that it tells nothing.
        landmark_text: What the published judge compares the reply with.
        answer_format: The format that was asked for.
        format_required: Whether a reply in another format is refused.
    """

    right: Answer
    rule: Rule
    training_rule: Rule | None
    training_action: str | None
    landmark_text: str
    answer_format: AnswerFormat
    format_required: bool

    def known(self, action: str) -> bool:
        """Return whether the action belongs to the asked space or to the trained one."""
        return action in self.rule.actions or (self.training_rule is not None and action in self.training_rule.actions)


def verify_strict(question: Question, reply: str) -> Verdict:
    """Judge ``reply``. Never raises; at most ``MAX_REPLY`` characters are read."""
    text = reply[:MAX_REPLY]
    stated = question.answer_format.read(text)
    action = None if stated is None else read_action(stated.action)
    kept = action is not None
    if not kept and not question.format_required:
        action = find_action(text)
    if action == question.right.action:
        code, words = "correct", ""
    elif action is None and question.format_required:
        code, words = "wrong_format", f"the answer is not in the format {question.answer_format.name}"
    elif action is None:
        code, words = "no_action", "no action was found"
    elif action not in question.rule.actions:
        code, words = "not_in_action_space", "there is no such action"
    else:
        code, words = "wrong_action", "this action is not right here"
    return Verdict(
        outcome_of(question, action),
        REWARDS[code],
        code,
        "Correct." if code == "correct" else f"That answer failed: {words}. Try again.",
        facts_of(question, stated if kept else None, action),
        confusion_of(question, action),
    )


def outcome_of(question: Question, action: str | None) -> Outcome:
    """Return what ``action`` is worth; None is a reply without one."""
    if action is None:
        return Outcome.UNPARSED
    return Outcome.CORRECT if action == question.right.action else Outcome.WRONG


def facts_of(question: Question, stated: Answer | None, action: str | None) -> dict[str, bool | None]:
    """Return the facts of a verdict.

    Args:
        question: What was asked.
        stated: What the reply says in the format that was asked for; None if it does not keep to it.
        action: The action of the reply, wherever it stands.
    """
    right, form = question.right, question.answer_format
    said = stated or _NOTHING
    instruction_ok = None
    if form.states("instruction"):
        instruction_ok = _agree(right.instruction, said.instruction)
    elif form.states("number"):  # a number names a sentence too
        instruction_ok = right.number == said.number
    hit = action == right.action
    foreign = None
    if question.training_rule is not None:
        foreign = action in question.training_rule.actions and action not in question.rule.actions
    return {
        "format_ok": stated is not None,
        "instruction_ok": instruction_ok,
        "observation_ok": _agree(right.observation, said.observation) if form.states("observation") else None,
        "right_under_training_rule": None if question.training_action is None else action == question.training_action,
        "in_trained_action_space": foreign,
        "turn_right": hit if right.action not in (FORWARD, STOP) else None,
        "forward_right": hit if right.action == FORWARD else None,
        "stop_right": hit if right.action == STOP else None,
    }


_NOTHING = Answer("")


def _agree(right: str | None, said: str | None) -> bool:
    return right is not None and said is not None and " ".join(right.split()) == said


def confusion_of(question: Question, action: str | None) -> tuple[str, str]:
    """Return the class of the right action and of the reply's: the word of a turn, ``forward`` or ``stop``.

    Actions of neither the asked nor the trained space are ``other``, a reply without one is ``unparsed``.
    """
    right = class_of(question.right.action)
    if action is None:
        return right, UNPARSED
    return right, class_of(action) if question.known(action) else OTHER


def class_of(action: str) -> str:
    """Return an action without its brackets, a turn as its word alone.

    Example:
        >>> class_of("turn_direction(slightly left)"), class_of("stop()")
        ('slightly left', 'stop')
    """
    name, _, word = action.rstrip(")").partition("(")
    return word or name


def strict_messages() -> Iterator[str]:
    """Yield one example of each message, so that a vocabulary can be made of their words."""
    yield "Correct."
    for reason in (
        "the answer is not in the format",
        "no action was found",
        "there is no such action",
        "this action is not right here",
    ):
        yield f"That answer failed: {reason}. Try again."
