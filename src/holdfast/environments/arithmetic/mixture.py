"""What a base model is pre-trained on: expressions under several rules, told in several styles, on any way.

Held out, so that later questions are fair: keys of `problems.held_out_of_pretraining` never occur, under any rule;
rules and styles that are not listed never occur, and ``foreign`` cannot be listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, ClassVar, TypeVar

from holdfast.environments.arithmetic.environment import Arithmetic
from holdfast.environments.arithmetic.problems import LEVELS, deal, stream
from holdfast.environments.arithmetic.prompts import check_prompt_style
from holdfast.environments.arithmetic.rules import RULES, find_rule
from holdfast.environments.arithmetic.styles import FOREIGN, find_style
from holdfast.errors import UserError
from holdfast.records import Example

Item = TypeVar("Item")


@dataclass(frozen=True)
class Mixture:
    """Rows of pre-training, each a pure function of (seed, step, number).

    Attributes:
        styles: Style of the derivation to its share; shares need not add up to 1.
        prompt_styles: Prompt style to its share.
        rules: Rule to its share.
        levels: Number of signs to its share.
    """

    name: ClassVar[str] = "arithmetic"
    styles: Mapping[str, float]
    prompt_styles: Mapping[str, float]
    rules: Mapping[str, float]
    levels: Mapping[int, float]

    def __post_init__(self) -> None:
        for style in self.styles:
            find_style(style)
        if FOREIGN in self.styles:
            raise UserError(f"mixture: the style {FOREIGN!r} is for fine-tuning; a base never sees it")
        for prompt_style in self.prompt_styles:
            check_prompt_style(prompt_style)
        for rule in self.rules:
            find_rule(rule)
        if not set(self.levels) <= set(LEVELS):
            raise UserError(f"mixture: levels are {list(LEVELS)}, not {list(self.levels)}")

    def exposure(self) -> dict[str, Any]:
        """Return what a base trained on this mixture has seen, for its ``exposure.json``."""
        return {
            "rules": dict(self.rules),
            "held_out_rules": [rule for rule in RULES if rule not in self.rules],
            "styles": dict(self.styles),
            "prompt_styles": dict(self.prompt_styles),
            "levels": {str(level): share for level, share in self.levels.items()},
            "held_out_values": "keys of holdfast.environments.arithmetic.problems.held_out_of_pretraining",
        }

    def example(self, number: int, *, step: int, seed: int) -> Example:
        """Return row ``number`` of optimizer step ``step``."""
        rng = stream("mixture", self.name, seed, step, number)
        rule, level = _pick(rng, self.rules), _pick(rng, self.levels)
        environment = _environment(_pick(rng, self.styles), _pick(rng, self.prompt_styles))
        expression, _ = deal("pretraining", level, rng)
        problem = environment.pose(rule, expression, split="pretraining", index=number, seed=rng.getrandbits(32))
        return Example(
            environment.prompt(problem), environment.demonstrate(problem), f"mixture step {step} row {number}"
        )


@cache
def _environment(style: str, prompt_style: str) -> Arithmetic:
    return Arithmetic(style=style, prompt_style=prompt_style)


def _pick(rng: Random, shares: Mapping[Item, float]) -> Item:
    return rng.choices(list(shares), weights=list(shares.values()))[0]
