"""The contract of an environment: a verifiable task with rule variants.

An environment is a frozen value without global state. Any problem is a pure function of (seed, rule, split, index), so
data sets need no files, any row can be made again, and two machines agree.

A complete minimal environment::

    @dataclass(frozen=True)
    class Doubling:
        name: ClassVar[str] = "doubling"
        rules: tuple[str, ...] = ("twice", "thrice")

        def sample(self, rule, split, index, *, seed):
            number = Random(f"{seed} {split} {index}").randrange(100)
            return Problem(self.name, rule, split, index, seed, key=str(number), facts={"number": number})

        def prompt(self, problem):
            return (Message(role="user", content=f"{problem.rule} {problem.facts['number']}"),)

        def demonstrate(self, problem):
            return str(problem.facts["number"] * {"twice": 2, "thrice": 3}[problem.rule])

        def verify(self, problem, reply):
            right = reply.strip() == self.demonstrate(problem)
            return Verdict(Outcome.CORRECT if right else Outcome.WRONG, float(right), "right" if right else "wrong", "")

Laws (``tests/laws/test_environments.py``, run over every member): a demonstration verifies as CORRECT; ``sample`` is
pure; train, validation and test share no ``key``; ``verify`` never raises, whatever the reply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

from holdfast.records import Message, Outcome, Problem, Verdict

SPLITS = ("train", "validation", "test", "recall", "compose")
"""``test`` is held out of training; ``recall`` and ``compose`` part it by whether the base has seen the values."""


@runtime_checkable
class Environment(Protocol):
    """A verifiable task. Implementations are frozen dataclasses whose fields are their options."""

    name: ClassVar[str]

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules in play: those between which splits are kept disjoint."""

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return problem number ``index`` of a split. Pure; ``index`` has no upper bound."""

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the messages that ask the problem (the environment's fields choose style and wording)."""

    def demonstrate(self, problem: Problem) -> str:
        """Return a correct reply: what supervised fine-tuning learns from."""

    def verify(self, problem: Problem, reply: str) -> Verdict:
        """Judge a reply. Never raises, never runs text, bounded in time and memory."""


@dataclass(frozen=True)
class Episode:
    """Sequential revision of one problem: answer, hear what was wrong, answer again.

    Attributes:
        environment: Judges the replies.
        problem: What is asked.
        messages: The conversation so far; the next reply continues it.
        verdicts: One a reply.
        attempts: Replies that are judged at most; no ungraded call is made after the last.
    """

    environment: Environment
    problem: Problem
    messages: tuple[Message, ...]
    verdicts: tuple[Verdict, ...] = ()
    attempts: int = 1

    @staticmethod
    def start(environment: Environment, problem: Problem, *, attempts: int = 1) -> Episode:
        """Open the conversation with the environment's prompt."""
        return Episode(environment, problem, environment.prompt(problem), (), attempts)

    @property
    def done(self) -> bool:
        """Whether the problem is solved or the attempts are used up."""
        return self.solved_at is not None or len(self.verdicts) >= self.attempts

    @property
    def solved_at(self) -> int | None:
        """Number of the first correct attempt, from 1 on; None if there is none yet."""
        return next((k for k, v in enumerate(self.verdicts, 1) if v.outcome is Outcome.CORRECT), None)

    def step(self, reply: str) -> Episode:
        """Judge ``reply`` and, if it failed and attempts are left, append it with the verdict's message."""
        verdict = self.environment.verify(self.problem, reply)
        after = replace(self, verdicts=(*self.verdicts, verdict))
        if after.done:
            return after
        said = Message(role="assistant", content=reply)
        heard = Message(role="user", content=verdict.message)
        return replace(after, messages=(*self.messages, said, heard))
