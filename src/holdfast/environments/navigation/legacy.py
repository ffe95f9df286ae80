"""The published judge, reproduced: rewards and order of checks of Chu et al. (2025); the messages are in our words.

Kept on purpose: equality of strings decides, without any tolerance for blanks; a wrong reply that says "intersection"
where the landmark's text does not is told that it is at none and earns −1.5, though it may well stand at one, because
the landmark's text never names the intersection; the feedback repeats the answer's shape with doubled braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from holdfast.environments.navigation.verifier import MAX_REPLY, Question, confusion_of, facts_of, outcome_of
from holdfast.records import Outcome, Verdict

REWARDS = {
    "correct": 1.0,
    "wrong_action": -1.0,
    "no_intersection_here": -1.5,
    "intersection_here": -1.5,
    "step_limit": -1.0,
}

MESSAGES = {
    "correct": "Correct.",
    "wrong_action": "That answer failed: this action is not right here.",
    "no_intersection_here": "That answer failed: there is no intersection here.",
    "intersection_here": "That answer failed: there is an intersection here.",
    "step_limit": "That answer was not judged: no attempts are left.",
}

_WORD = "intersection"
_ACTION = re.compile(r'"action": "(.*?)"')
_SHAPE = (
    "Answer with one block of this shape:\n"
    "{{\n"
    '  "current observation": what you see now,\n'
    '  "current instruction": the sentence that you carry out now,\n'
    '  "action": the action,\n'
    "}}"
)


def verify_legacy(question: Question, reply: str) -> Verdict:
    """Judge ``reply`` as published. Never raises; at most ``MAX_REPLY`` characters are read."""
    text = reply[:MAX_REPLY]
    action = read_reply(text)
    if action == question.right.action:
        code = "correct"
    elif _WORD in text and _WORD not in question.landmark_text:
        code = "no_intersection_here"
    elif _WORD not in text and _WORD in question.landmark_text:
        code = "intersection_here"
    else:
        code = "wrong_action"
    return Verdict(
        outcome_of(question, action),
        REWARDS[code],
        code,
        MESSAGES[code] if code == "correct" else f"{MESSAGES[code]}\n{_SHAPE}",
        facts_of(question, question.answer_format.read(text), action),
        confusion_of(question, action),
    )


def read_reply(text: str) -> str | None:
    """Return the action's field as it stands: from valid JSON, else by regular expression; None if there is none."""
    try:
        field = json.loads(text)["action"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        found = _ACTION.search(text)
        return None if found is None else found[1]
    return field if isinstance(field, str) else None


def ungraded(question: Question, reply: str) -> Verdict:
    """Return the verdict of the call after the last judged attempt: it is made and thrown away, as published."""
    action = read_reply(reply[:MAX_REPLY])
    facts = facts_of(question, question.answer_format.read(reply), action)
    return Verdict(Outcome.WRONG, REWARDS["step_limit"], "step_limit", MESSAGES["step_limit"],
                   facts, confusion_of(question, action))  # fmt: skip


def legacy_messages() -> Iterator[str]:
    """Yield one example of each message, so that a vocabulary can be made of their words."""
    yield from MESSAGES.values()
    yield _SHAPE
