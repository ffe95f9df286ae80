"""The script of a walk: what is told, seen, done and answered at each point, under one rule and instruction style."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.environments.navigation.answer_formats import Answer
from holdfast.environments.navigation.instructions import (
    instruction_text,
    observation,
    sentences,
    short_observation,
    turn_of,
)
from holdfast.environments.navigation.prompts import Done
from holdfast.environments.navigation.rail import Kind, Point
from holdfast.environments.navigation.rules import FORWARD, STOP, Rule
from holdfast.environments.navigation.walk import Walk, sentence_number


class Script(NamedTuple):
    """Everything that the questions of a route are made of; each tuple has one entry a point.

    Attributes:
        instruction: The text of the whole route.
        history: What was seen and done.
        answers: What a right reply says, with the published observation.
        short_answers: The same with the short one.
        training_actions: The right actions under the training rule.
        landmark_texts: First parts of the published observations.
    """

    instruction: str
    history: tuple[Done, ...]
    answers: tuple[Answer, ...]
    short_answers: tuple[Answer, ...]
    training_actions: tuple[str, ...]
    landmark_texts: tuple[str, ...]


def script_of(walk: Walk, style: str, *, rule: Rule, training: Rule) -> Script:
    """Return the script of ``walk`` under ``rule``, where a turn is told in ``style``."""
    told = sentences(walk, style, rule)
    history, answers, short_answers = [], [], []
    for point in walk.points:
        number, action = sentence_number(point), right_action(walk, point, style, rule)
        done = Done(observation(walk, point, style), short_observation(walk, point, style), action)
        history.append(done)
        answers.append(Answer(action, told[number], done.observation, str(number + 1)))
        short_answers.append(answers[-1]._replace(observation=done.short_observation))
    return Script(
        instruction_text(walk, style, rule),
        tuple(history),
        tuple(answers),
        tuple(short_answers),
        tuple(right_action(walk, point, style, training) for point in walk.points),
        tuple(point.landmark_text for point in walk.points),
    )


def right_action(walk: Walk, point: Point, style: str, rule: Rule) -> str:
    """Return the action that is right at ``point`` under ``rule``."""
    if point.kind is Kind.ROAD:
        return FORWARD
    return STOP if point.kind is Kind.DESTINATION else rule.action(turn_of(walk, point.leg, style))
