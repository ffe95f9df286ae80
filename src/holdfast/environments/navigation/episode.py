"""A route being walked: at each point the prompt anew, and the current point's failed attempts as turns of a talk.

A right action leads to the next point. What follows when all attempts at a point have failed depends on the mode. In
the strict modes the walker is set on the next point all the same, so that every point is asked and an early failure
hides nothing. In the mode ``legacy`` the walk ends there, after one more call that is not judged, as published. The
history of later prompts holds the right actions in either case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from holdfast.environments.base import Environment
from holdfast.records import Message, Outcome, Problem, Verdict


class Walked(Environment, Protocol):
    """An environment whose episodes these are."""

    @property
    def legacy(self) -> bool:
        """Whether episodes end as published."""

    def ungraded(self, problem: Problem, reply: str) -> Verdict:
        """Return the verdict of a call that is not judged."""


class Try(NamedTuple):
    """A reply's place and fate."""

    point: int
    verdict: Verdict
    judged: bool = True

    @property
    def right(self) -> bool:
        """Whether the reply was judged and found right."""
        return self.judged and self.verdict.outcome is Outcome.CORRECT


@dataclass(frozen=True)
class RouteEpisode:
    """The episode of a route.

    Attributes:
        environment: Asks and judges.
        problem: The route.
        points: Its questions.
        attempts: Replies to one point that are judged at most.
        point: The question that the next reply answers, from 0 on.
        messages: What the next reply continues.
        tries: One a reply.
        done: Whether the walk is over.
    """

    environment: Walked
    problem: Problem
    points: tuple[Problem, ...]
    attempts: int
    point: int
    messages: tuple[Message, ...]
    tries: tuple[Try, ...] = ()
    done: bool = False

    @staticmethod
    def start(environment: Walked, problem: Problem, *, attempts: int = 1) -> RouteEpisode:
        """Stand at the first point."""
        points = environment.steps(problem)
        return RouteEpisode(environment, problem, points, attempts, 0, environment.prompt(points[0]))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One a reply."""
        return tuple(one.verdict for one in self.tries)

    @property
    def solved_at(self) -> int | None:
        """The most attempts that any point took, if all were answered right within the attempts."""
        right = {one.point for one in self.tries if one.right}
        if len(right) < len(self.points):
            return None
        return max(sum(one.point == point for one in self.tries) for point in right)

    @property
    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Rates of the walk so far.

        ``per_step`` (not in the mode ``legacy``): points answered right at the first attempt, of all asked.
        ``per_step_legacy``: as published, right replies of all calls up to the first point that used up its attempts,
        with the ungraded call after it. ``progress``: points before the first that was not answered right at once, of
        all points of the route. ``old_action_space`` (not under the training rule): replies whose action belongs to
        the space of the training rule and not to the asked one, of all replies.
        """
        if not self.tries:
            return {}
        first: dict[int, bool] = {}
        for one in self.tries:
            first.setdefault(one.point, one.right)
        passed = next((point for point, right in first.items() if not right), len(first))
        counts = {"per_step_legacy": self._per_step_legacy(), "progress": (passed, len(self.points))}
        if not self.environment.legacy:
            counts["per_step"] = sum(first.values()), len(first)
        if self.problem.rule != self.environment.rules[0]:
            foreign = sum(one.verdict.facts["in_trained_action_space"] is True for one in self.tries)
            counts["old_action_space"] = foreign, len(self.tries)
        return counts

    def _per_step_legacy(self) -> tuple[int, int]:
        right = calls = failed = 0
        for one in self.tries:
            if not one.judged:
                break
            calls += 1
            right += one.right
            failed = 0 if one.right else failed + 1
            if failed == self.attempts:
                break
        ended = self.done if self.environment.legacy else True
        return right, calls + (failed == self.attempts and ended)

    def step(self, reply: str) -> RouteEpisode:
        """Judge ``reply`` and return the walk after it."""
        asked = self.points[self.point]
        failed = sum(one.point == self.point for one in self.tries)  # all earlier replies to this point failed
        if failed == self.attempts:
            last = Try(self.point, self.environment.ungraded(asked, reply), judged=False)
            return replace(self, tries=(*self.tries, last), done=True)
        one = Try(self.point, self.environment.verify(asked, reply))
        after = replace(self, tries=(*self.tries, one))
        moves_on = one.right or (failed + 1 == self.attempts and not self.environment.legacy)
        if moves_on and self.point + 1 == len(self.points):
            return replace(after, done=True)
        if moves_on:
            return replace(after, point=self.point + 1, messages=self.environment.prompt(self.points[self.point + 1]))
        said = Message(role="assistant", content=reply)
        heard = Message(role="user", content=one.verdict.message)
        return replace(after, messages=(*self.messages, said, heard))
