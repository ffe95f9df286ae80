"""A task that a random model half solves and any can learn: begin the answer early in the alphabet, or late."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

from holdfast.environments.base import Revision
from holdfast.records import Message, Outcome, Problem, Verdict


@dataclass(frozen=True)
class FirstLetter:
    """See the module."""

    name: ClassVar[str] = "first_letter"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = ("early", "late")

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        number = Random(f"{seed} {split} {index}").randrange(1, 40)
        return Problem(self.name, rule, split, index, seed, key=f"{split} {index}", facts={"number": number})

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        return (Message(role="user", content=f"numbers {problem.facts['number']}"),)

    def demonstrate(self, problem: Problem) -> str:
        return "cards cards" if problem.rule == "early" else "target"

    def verify(self, problem: Problem, reply: str) -> Verdict:
        right = bool(reply.strip()) and (reply.strip().lower()[0] < "l") == (problem.rule == "early")
        return Verdict(
            Outcome.CORRECT if right else Outcome.WRONG, 2.0 if right else -1.0, "right" if right else "wrong", "again"
        )

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        return (problem,)

    def begin(self, problem: Problem, *, attempts: int = 1) -> Revision:
        return Revision.start(self, problem, attempts=attempts)
