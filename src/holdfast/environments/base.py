"""The contract of an environment: a verifiable task with rule variants.

An environment is a frozen value without global state. Any problem is a pure function of (seed, rule, split, index), so
data sets need no files, any row can be made again, and two machines agree.

A complete minimal environment::

    @dataclass(frozen=True)
    class Doubling:
        name: ClassVar[str] = "doubling"
        multi_step: ClassVar[bool] = False
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

        def steps(self, problem):
            return (problem,)

        def begin(self, problem, *, attempts=1):
            return Revision.start(self, problem, attempts=attempts)

A problem may take several turns (a route: a turn at every crossing). Then ``steps`` parts it into questions that can
each be asked alone, given that all before went right: what fine-tuning learns from and what teacher-forced scoring
asks; and ``begin`` plays it as a whole, the model's own answers deciding how it goes on.

Laws (``tests/laws/test_environments.py``, run over every member): a demonstration verifies as CORRECT; ``sample`` is
pure; the demonstrations of a problem's steps, given to its episode, solve it; train, validation and test share no
``key``; ``verify`` never raises, whatever the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

from holdfast.records import Message, Outcome, Problem, Verdict

SPLITS = ("train", "validation", "test", "recall", "compose")
"""``test`` is held out of training; ``recall`` and ``compose`` part it by whether the base has seen the values."""


@runtime_checkable
class Environment(Protocol):
    """A verifiable task. Implementations are frozen dataclasses whose fields are their options."""

    name: ClassVar[str]
    multi_step: ClassVar[bool]
    """Whether `steps` may return more than one question. Then a data set deals all its problems to count its rows."""

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

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """Return the single questions of a problem in order, each with the key of the whole; itself if it is one."""

    def begin(self, problem: Problem, *, attempts: int = 1) -> Episode:
        """Return an unbegun episode of the whole problem.

        Args:
            problem: As `sample` gives it.
            attempts: Replies to one question that are judged at most, each after the first with feedback.
        """


class Episode(Protocol):
    """A problem being played: an immutable value that each reply turns into the next."""

    @property
    def problem(self) -> Problem:
        """What is played."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation that the next reply continues."""

    @property
    def done(self) -> bool:
        """Whether no further reply is asked for."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One a reply so far."""

    @property
    def solved_at(self) -> int | None:
        """The number of attempts, from 1 on, that the hardest question took; None while it is not solved."""

    @property
    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Further rates as (successes, trials): pooled over episodes they become metrics of these names."""

    def step(self, reply: str) -> Episode:
        """Judge ``reply`` and return the episode after it."""


@dataclass(frozen=True)
class Revision:
    """The episode of a single question, by sequential revision: answer, hear what was wrong, answer again.

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
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def start(environment: Environment, problem: Problem, *, attempts: int = 1) -> Revision:
        """Open the conversation with the environment's prompt."""
        return Revision(environment, problem, environment.prompt(problem), (), attempts)

    @property
    def done(self) -> bool:
        """Whether the problem is solved or the attempts are used up."""
        return self.solved_at is not None or len(self.verdicts) >= self.attempts

    @property
    def solved_at(self) -> int | None:
        """Number of the first correct attempt, from 1 on; None if there is none yet."""
        return next((k for k, v in enumerate(self.verdicts, 1) if v.outcome is Outcome.CORRECT), None)

    def step(self, reply: str) -> Revision:
        """Judge ``reply`` and, if it failed and attempts are left, append it with the verdict's message."""
        verdict = self.environment.verify(self.problem, reply)
        after = replace(self, verdicts=(*self.verdicts, verdict))
        if after.done:
            return after
        said = Message(role="assistant", content=reply)
        heard = Message(role="user", content=verdict.message)
        return replace(after, messages=(*self.messages, said, heard))
