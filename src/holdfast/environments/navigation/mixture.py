"""What a base model is pre-trained on: points of routes under many action spaces, so that it learns to *read* them.

Held out, so that later questions are fair: the rules of ``held_out_rules`` never occur, nor does any ``tokens_<k>``
with k below ``lowest_tokens``; answer formats and instruction styles that are not listed never occur; the cities are
those of the home ``pretrain``, whose names are shared with ``train`` and ``recall`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from typing import Any, ClassVar

from holdfast.environments.navigation.answer_formats import Answer, find_answer_format
from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.environment import Navigation
from holdfast.environments.navigation.rules import FORWARD, STOP, TOKENS, Frame, find_rule, turn_action
from holdfast.errors import UnknownName, UserError
from holdfast.records import Example, Message, Outcome, Problem

RANDOM_TOKENS = "tokens"
"""Among the rules of a mixture: any ``tokens_<k>``."""
MANY_TOKENS = 1_000_000
TELLINGS = ("both", "plain", "worked_out", "landmark")
ACTIONS = ("turn", "forward", "stop")


@dataclass(frozen=True)
class Mixture:
    """Rows of pre-training, each a pure function of (seed, number): one point of a route, with its history.

    Attributes:
        formats: Answer format to its share; shares need not add up to 1.
        styles: Prompt style to its share.
        rules: Rule to its share; ``tokens`` stands for random words, new ones a row.
        held_out_rules: Rules that never occur.
        tellings: What a turn is told by: ``both`` words; the ``plain`` style whose words the rule asks for
            (``absolute`` or ``relative``); the other of the two, so that the answer must be ``worked_out``; or by
            ``landmark``.
        actions: Share of the points that expect a turn, a step forward, and the stop.
        milestones: Fewest and most milestones of a route.
        drop_rate, straight_line_length: Of the rail.
        lowest_tokens: Smallest k of the random ``tokens_<k>``.
        retry_every: Every so many-th step holds only rows with a failed trial, its message and the right answer,
            so that long rows do not pad short ones; 0 for none.
    """

    name: ClassVar[str] = "navigation"
    formats: Mapping[str, float]
    styles: Mapping[str, float]
    rules: Mapping[str, float]
    held_out_rules: tuple[str, ...]
    tellings: Mapping[str, float]
    actions: Mapping[str, float]
    milestones: tuple[int, int] = (2, 4)
    drop_rate: float = 0.5
    straight_line_length: int = 5
    lowest_tokens: int = 100
    retry_every: int = 12

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_out_rules", tuple(self.held_out_rules))
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for name in self.formats:
            find_answer_format(name)
        for rule in (*self.held_out_rules, *(name for name in self.rules if name != RANDOM_TOKENS)):
            find_rule(rule)
        both = sorted(set(self.rules) & set(self.held_out_rules))
        if both:
            raise UserError(f"mixture: the rules {', '.join(both)} are both shown and held out")
        for kind, names, known in (("telling", self.tellings, TELLINGS), ("action", self.actions, ACTIONS)):
            for name in names:
                if name not in known:
                    raise UnknownName(kind, name, known)

    def exposure(self) -> dict[str, Any]:
        """Return what a base trained on this mixture has seen, for its ``exposure.json``."""
        return {
            "rules": dict(self.rules),
            "random_tokens": f"tokens_k, k from {self.lowest_tokens} to {MANY_TOKENS - 1}, but for the held-out ones",
            "held_out_rules": list(self.held_out_rules),
            "answer_formats": dict(self.formats),
            "prompt_styles": dict(self.styles),
            "tellings": dict(self.tellings),
            "milestones": list(self.milestones),
            "names": "pools train and recall of holdfast.environments.navigation.names",
        }

    def example(self, number: int, *, step: int, seed: int) -> Example:
        """Return row ``number`` of optimizer step ``step``."""
        rng = _stream("mixture", self.name, seed, step, number)
        environment, problem = self.deal(rng, index=number)
        messages, answer = environment.prompt(problem), environment.demonstrate(problem)
        if self.retry_every and step % self.retry_every == self.retry_every - 1:
            messages = (*messages, *_failed_trial(environment, problem, rng))
        return Example(messages, answer, f"mixture step {step} row {number}")

    def deal(self, rng: Random, *, index: int = 0) -> tuple[Navigation, Problem]:
        """Return a point of a new route, and the environment that asks it."""
        rule = self._rule(rng)
        environment = _environment(
            _told_by(_pick(rng, self.tellings), rule),
            _pick(rng, self.styles),
            _pick(rng, self.formats),
            self.drop_rate,
            self.straight_line_length,
        )
        wanted = _pick(rng, self.actions)
        while True:
            route = deal("pretrain", rng.getrandbits(48), seed=0, milestones=self.milestones)
            seeds = rng.getrandbits(32), rng.getrandbits(32)
            whole = environment.pose(rule, route, split="pretraining", index=index, seed=seeds[0], rail_seed=seeds[1])
            points = [point for point in environment.steps(whole) if _kind(environment, point) == wanted]
            if points:  # a route may have no point on the road
                return environment, rng.choice(points)

    def _rule(self, rng: Random) -> str:
        rule = _pick(rng, self.rules)
        while rule == RANDOM_TOKENS or rule in self.held_out_rules:
            rule = f"tokens_{rng.randrange(self.lowest_tokens, MANY_TOKENS)}"
        return rule


def _told_by(telling: str, rule: str) -> str:
    if telling in ("both", "landmark"):
        return telling
    compass = find_rule(rule).frame is Frame.COMPASS
    return "absolute" if compass == (telling == "plain") else "relative"


def _kind(environment: Navigation, problem: Problem) -> str:
    action = environment.question(problem).right.action
    return {FORWARD: "forward", STOP: "stop"}.get(action, "turn")


@cache
def _environment(
    instruction: str, style: str, answer_format: str, drop_rate: float, straight_line_length: int
) -> Navigation:
    # One rule in play: rows are posed, not sampled from splits, and any rule may be posed.
    return Navigation(
        rules=("absolute",),
        instruction=instruction,
        prompt_style=style,
        answer_format=answer_format,
        drop_rate=drop_rate,
        straight_line_length=straight_line_length,
    )


def _stream(*parts: object) -> Random:
    return Random(int.from_bytes(sha256(repr(parts).encode()).digest()[:16], "big"))


def _pick(rng: Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _failed_trial(environment: Navigation, problem: Problem, rng: Random) -> tuple[Message, Message]:
    """Return a wrong answer that a half-trained model might give, and the message it gets."""
    right = environment.question(problem).right
    rule = find_rule(problem.rule)
    while True:
        wrong = _wrong(environment, problem, right, sorted(rule.actions), rng)
        verdict = environment.verify(problem, wrong)
        if verdict.outcome is not Outcome.CORRECT:
            return Message(role="assistant", content=wrong), Message(role="user", content=verdict.message)


def _wrong(environment: Navigation, problem: Problem, right: Answer, actions: list[str], rng: Random) -> str:
    answer_format = find_answer_format(environment.answer_format)
    place = rng.random()
    if place < 0.6:
        return answer_format.write(right._replace(action=rng.choice(actions)))
    if place < 0.8:  # an action of no space that is asked
        word = rng.choice(TOKENS)
        return answer_format.write(right._replace(action=turn_action(word)))
    if place < 0.95:  # what would be right at another point
        steps = environment.steps(_whole(problem))
        return environment.demonstrate(rng.choice(steps))
    return (right.instruction or "").rstrip(".")


def _whole(problem: Problem) -> Problem:
    facts = {name: value for name, value in problem.facts.items() if name != "step"}
    return Problem(problem.environment, problem.rule, problem.split, problem.index, problem.seed, problem.key, facts)
