"""Answers that a model drew, and what is learned from them: pure functions of what was said and how it was judged."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from holdfast.data.encode import Encoded
from holdfast.methods.price import Size
from holdfast.statistics import rate_by_cluster

Good = Literal["success", "verdict"]
"""What an answer is worth: 1 if it is right, else 0; or the environment's own reward."""


@dataclass(frozen=True)
class Answer:
    """One drawn answer.

    Attributes:
        token_ids: What was generated, token by token, the ending one included.
        text: The same as text.
        right: Whether the environment verified it.
        reward: The environment's own.
        finished: Whether the model ended it; what was cut off is never learned as a good answer.
    """

    token_ids: tuple[int, ...]
    text: str
    right: bool
    reward: float
    finished: bool

    def worth(self, by: Good) -> float:
        """Return what the answer is worth."""
        return float(self.right) if by == "success" else self.reward


@dataclass(frozen=True)
class Question:
    """What was asked, with all answers to it.

    Attributes:
        problem: Number in the data. A problem of several turns has several questions.
        prompt_ids: The prompt.
        answers: In the order in which they were drawn.
    """

    problem: int
    prompt_ids: tuple[int, ...]
    answers: tuple[Answer, ...]

    def row(self, answer: Answer) -> Encoded:
        """Return prompt and answer as a row of training: the very tokens that were drawn."""
        return Encoded((*self.prompt_ids, *answer.token_ids), len(self.prompt_ids))

    def distinct(self) -> tuple[Answer, ...]:
        """Return the answers without those whose text was drawn before, in the order of drawing."""
        return tuple({answer.text: answer for answer in reversed(self.answers)}.values())[::-1]

    def to_json(self) -> dict[str, Any]:
        """Return a line of ``drawn.jsonl``."""
        answers = [
            {"text": a.text, "right": a.right, "reward": a.reward, "finished": a.finished, "token_ids": a.token_ids}
            for a in self.answers
        ]
        return {"problem": self.problem, "prompt_ids": self.prompt_ids, "answers": answers}

    @staticmethod
    def from_json(line: Mapping[str, Any]) -> Question:
        """Inverse of `to_json`."""
        answers = (Answer(**{**answer, "token_ids": tuple(answer["token_ids"])}) for answer in line["answers"])
        return Question(line["problem"], tuple(line["prompt_ids"]), tuple(answers))


class Kept(NamedTuple):
    """Rows to learn from.

    Attributes:
        rows: Prompt and answer.
        weights: Of each row; their mean is 1.
    """

    rows: tuple[Encoded, ...]
    weights: tuple[float, ...]


class Pair(NamedTuple):
    """Two answers to one question, as rows."""

    chosen: Encoded
    rejected: Encoded


def kept(questions: Sequence[Question], *, by: Good, most: int | None) -> Kept:
    """Return the distinct answers that are worth something, at most ``most`` of a question, the first drawn.

    Example:
        >>> right, wrong = Answer((7,), "a", True, 1.0, True), Answer((8,), "b", False, -1.0, True)
        >>> kept([Question(0, (1, 2), (right, wrong, right))], by="success", most=None)
        Kept(rows=(Encoded(input_ids=(1, 2, 7), n_prompt=2, pictured=None),), weights=(1.0,))
    """
    found = [
        (question.row(answer), answer.worth(by))
        for question in questions
        for answer in itertools.islice(_good(question, by), most)
    ]
    mean = sum(worth for _, worth in found) / len(found) if found else 1.0
    return Kept(tuple(row for row, _ in found), tuple(worth / mean for _, worth in found))


def _good(question: Question, by: Good) -> Iterator[Answer]:
    return (answer for answer in question.distinct() if answer.finished and answer.worth(by) > 0)


def pairs(questions: Sequence[Question], *, by: Good, most: int) -> list[Pair]:
    """Return pairs of distinct answers of unequal worth, at most ``most`` of a question.

    Answers that were used least come first, and of those the first drawn. The better one was not cut off.

    Example:
        >>> good, bad = Answer((7,), "a", True, 1.0, True), Answer((8,), "b", False, -1.0, True)
        >>> (pair,) = pairs([Question(0, (1,), (bad, good))], by="success", most=2)
        >>> pair.chosen.input_ids, pair.rejected.input_ids
        ((1, 7), (1, 8))
    """
    return [
        Pair(question.row(better), question.row(worse))
        for question in questions
        for better, worse in itertools.islice(_unequal(question, by), most)
    ]


def _unequal(question: Question, by: Good) -> Iterator[tuple[Answer, Answer]]:
    answers = question.distinct()
    every = [
        (better, worse)
        for better, worse in itertools.product(answers, answers)
        if better.finished and better.worth(by) > worse.worth(by)
    ]
    used: Counter[str] = Counter()
    while every:
        pair = min(every, key=lambda one: used[one[0].text] + used[one[1].text])
        every.remove(pair)
        used.update(answer.text for answer in pair)
        yield pair


def sizes(questions: Sequence[Question]) -> list[Size]:
    """Return what was asked and answered, for the price."""
    return [Size(len(one.prompt_ids), len(answer.token_ids)) for one in questions for answer in one.answers]


def facts(questions: Sequence[Question]) -> dict[str, Any]:
    """Return how the drawing went: what the head of ``drawn.jsonl`` tells. A problem counts once in the interval."""
    answers = [(question.problem, answer) for question in questions for answer in question.answers]
    right = [answer.right for _, answer in answers]
    by_problem: dict[int, list[bool]] = {}
    for problem, answer in answers:
        by_problem.setdefault(problem, []).append(answer.right)
    share = rate_by_cluster(right, [str(problem) for problem, _ in answers])
    return {
        "answers": len(answers),
        "right": sum(right),
        "right_share": share.value,
        "right_share_95": [share.low, share.high],
        "distinct": sum(len(question.distinct()) for question in questions),
        "distinct_right": sum(answer.right for question in questions for answer in question.distinct()),
        "cut_off": sum(not answer.finished for _, answer in answers),
        "problems": len(by_problem),
        "problems_ever_right": sum(any(own) for own in by_problem.values()),
        "problems_always_right": sum(all(own) for own in by_problem.values()),
        "right_of_problem": {str(problem): [sum(own), len(own)] for problem, own in sorted(by_problem.items())},
    }
