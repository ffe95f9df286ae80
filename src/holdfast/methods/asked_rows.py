"""The rows of a file as questions that the model is asked and nobody judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from holdfast.environments.base import Revision
from holdfast.records import Example, Message, Outcome, Problem, Verdict

RULE = "as written"
"""The one rule of a file."""


@dataclass(frozen=True)
class AskedRows:
    """Implements the contract of an environment, so that rows are asked the way problems are.

    Attributes:
        examples: Their prompts are asked, in their order.
    """

    name: ClassVar[str] = "rows"
    multi_step: ClassVar[bool] = False
    examples: Sequence[Example]

    @property
    def rules(self) -> tuple[str, ...]:
        """The one rule."""
        return (RULE,)

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return row ``index``."""
        return Problem(self.name, rule, split, index, seed, key=str(index))

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the row's messages before the answer."""
        return self.examples[problem.index].prompt

    def demonstrate(self, problem: Problem) -> str:
        """Return the row's answer."""
        return self.examples[problem.index].completion

    def verify(self, problem: Problem, reply: str) -> Verdict:  # noqa: ARG002  (the contract of an environment)
        """Return that nothing is judged."""
        return Verdict(Outcome.UNPARSED, 0.0, "unjudged", "This is not judged.")

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """A row is one question."""
        return (problem,)

    def begin(self, problem: Problem, *, attempts: int = 1) -> Revision:
        """Ask once."""
        return Revision.start(self, problem, attempts=attempts)
