"""What a base model is pre-trained on: the points game under many rules, so that it learns to *read* the rule.

Held out, so that later questions are fair: the maps of ``held_out_rules`` never occur; value multisets of
`splits.held_out_of_pretraining` never occur, under any rule; answer formats that are not listed never occur.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random
from typing import Any, ClassVar

from holdfast.environments.general_points.answer_formats import find_answer_format
from holdfast.environments.general_points.environment import GeneralPoints
from holdfast.environments.general_points.rules import find_rule, rule_map
from holdfast.environments.general_points.solver import solvable
from holdfast.environments.general_points.splits import held_out_of_pretraining, stream
from holdfast.errors import UserError
from holdfast.records import Example, Message, Outcome, Problem

FACES = (11, 12, 13)


@dataclass(frozen=True)
class Mixture:
    """Rows of pre-training, each a pure function of (seed, number).

    Attributes:
        formats: Answer format to its share; they need not add up to 1.
        styles: Prompt style to its share.
        fixed_rules: Rules that occur more often than chance, with their share of all rows.
        held_out_rules: Rules whose map of jack, queen and king never occurs.
        lowest, highest: Range of the random values of jack, queen and king.
        one_value_share: Share of random maps that give all three one value, as many rules of the literature do.
        face_share: Share of hands that are dealt with at least one face card.
        retry_every: Every so many-th step holds only rows with a failed trial, its message and the right answer,
            so that long rows do not pad short ones; 0 for none.
        target: What formulas make.
    """

    name: ClassVar[str] = "general_points"
    formats: Mapping[str, float]
    styles: Mapping[str, float]
    fixed_rules: Mapping[str, float]
    held_out_rules: tuple[str, ...]
    lowest: int = 1
    highest: int = 13
    one_value_share: float = 0.15
    face_share: float = 0.7
    retry_every: int = 12
    target: int = 24

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_out_rules", tuple(self.held_out_rules))
        for name in self.formats:
            find_answer_format(name)
        for rule in (*self.fixed_rules, *self.held_out_rules):
            find_rule(rule)
        both = {rule_map(rule) for rule in self.fixed_rules} & {rule_map(rule) for rule in self.held_out_rules}
        if both:
            raise UserError(f"mixture: the maps {sorted(both)} are both fixed and held out")

    def exposure(self) -> dict[str, Any]:
        """Return what a base trained on this mixture has seen, for its ``exposure.json``."""
        return {
            "rules": f"J, Q and K independent from {self.lowest} to {self.highest}, but for the held-out maps",
            "lowest": self.lowest,
            "highest": self.highest,
            "frequent_rules": dict(self.fixed_rules),
            "held_out_rules": list(self.held_out_rules),
            "answer_formats": dict(self.formats),
            "prompt_styles": dict(self.styles),
            "targets": [self.target],
            "n_cards": [4],
            "held_out_values": "value multisets of holdfast.environments.general_points.splits.held_out_of_pretraining",
        }

    def example(self, number: int, *, step: int, seed: int) -> Example:
        """Return row ``number`` of optimizer step ``step``."""
        rng = stream("mixture", self.name, seed, step, number)
        rule, hand = self.deal(rng)
        environment = _environment(_pick(rng, self.styles), _pick(rng, self.formats), self.target)
        problem = environment.pose(rule, hand, split="pretraining", index=number, seed=rng.getrandbits(32))
        messages, answer = environment.prompt(problem), environment.demonstrate(problem)
        if self.retry_every and step % self.retry_every == self.retry_every - 1:
            messages = (*messages, *_failed_trial(environment, problem, rng))
        return Example(messages, answer, f"mixture step {step} row {number}")

    def deal(self, rng: Random) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return a rule's name and a solvable hand whose values pre-training may show."""
        rule = self._rule(rng)
        faces = rng.random() < self.face_share
        found = rule_map(rule)
        while True:
            ranks = [rng.randint(1, 13) for _ in range(4)]
            if faces and max(ranks) < FACES[0]:
                ranks[rng.randrange(4)] = rng.choice(FACES)
            values = tuple(sorted(found[rank - FACES[0]] if rank >= FACES[0] else rank for rank in ranks))
            if _allowed(values, self.target):
                return rule, tuple((rank, rng.randrange(4)) for rank in ranks)

    def _rule(self, rng: Random) -> str:
        place = rng.random()
        for rule, share in self.fixed_rules.items():
            place -= share
            if place < 0:
                return rule
        while True:
            if rng.random() < self.one_value_share:
                faces = (rng.randint(self.lowest, self.highest),) * 3
            else:
                faces = (
                    rng.randint(self.lowest, self.highest),
                    rng.randint(self.lowest, self.highest),
                    rng.randint(self.lowest, self.highest),
                )
            if faces not in _maps(self.held_out_rules):
                return "faces_as_" + "_".join(map(str, dict.fromkeys(faces) if len(set(faces)) == 1 else faces))


@lru_cache(maxsize=8)
def _maps(rules: tuple[str, ...]) -> frozenset[tuple[int, int, int]]:
    return frozenset(rule_map(rule) for rule in rules)


@cache
def _allowed(values: tuple[int, ...], target: int) -> bool:
    return solvable(values, target) and not held_out_of_pretraining(values, target)


@cache
def _environment(style: str, answer_format: str, target: int) -> GeneralPoints:
    # One rule in play: rows are posed, not sampled from splits, and any rule may be posed.
    return GeneralPoints(rules=("faces_as_10",), target=target, prompt_style=style, answer_format=answer_format)


def _pick(rng: Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _failed_trial(environment: GeneralPoints, problem: Problem, rng: Random) -> tuple[Message, Message]:
    """Return a wrong answer that a half-trained model might give, and the message it gets."""
    while True:
        wrong = _wrong(environment, problem, rng)
        verdict = environment.verify(problem, wrong)
        if verdict.outcome is not Outcome.CORRECT:
            return Message(role="assistant", content=wrong), Message(role="user", content=verdict.message)


def _wrong(environment: GeneralPoints, problem: Problem, rng: Random) -> str:
    answer = environment.demonstrate(problem)
    if rng.random() < 0.5:
        places = [at for at, sign in enumerate(answer) if sign in "+-*/" and answer[at - 1 : at] != " "]
        at = rng.choice(places)
        return answer[:at] + rng.choice([sign for sign in "+-*/" if sign != answer[at]]) + answer[at + 1 :]
    hand = [tuple(card) for card in problem.facts["hand"]]
    values = tuple(problem.facts["values"])
    at = rng.randrange(len(values))
    other = environment.pose(problem.rule, [*hand[:at], (rng.randint(1, 10), 0), *hand[at + 1 :]], split="pretraining")
    if _allowed(tuple(sorted(other.facts["values"])), environment.target):  # a wrong trial must not show them either
        return environment.demonstrate(other)
    return answer[: rng.randint(1, len(answer) - 1)]
