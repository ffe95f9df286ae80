"""Arithmetic in sentences: many valid derivations of one answer, under rules that say which sign binds tighter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeVar

from holdfast.environments.arithmetic.derivations import drawn, fixed
from holdfast.environments.arithmetic.expression import MAX_VALUE, parse, value_of
from holdfast.environments.arithmetic.problems import LEVELS, SIGNS, deal, key_of, stream
from holdfast.environments.arithmetic.prompts import check_prompt_style, prompt_text
from holdfast.environments.arithmetic.rules import RULES, find_rule
from holdfast.environments.arithmetic.styles import find_style
from holdfast.environments.arithmetic.verifier import Question, verify
from holdfast.environments.base import SPLITS, Revision
from holdfast.errors import UnknownName, UserError
from holdfast.records import Message, Problem, Verdict

SOLUTIONS = ("fixed", "any")
MODES = ("strict", "strict_format")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Arithmetic:
    """Work out an expression step by step; the answer decides, and the steps are checked beside it.

    One and the same expressions are asked under every rule, and no multiset of numbers and signs is in two splits,
    whatever the options (`problems`).

    Attributes:
        rules: The rules in play. The first is the training rule: ``right_under_training_rule`` is asked of it.
        levels: Numbers of signs, 1 to 4; each problem has one of them, all alike often.
        style: How a derivation is told: a name of ``STYLES``. ``foreign`` is one that no base has seen.
        solution: What is demonstrated. ``fixed``: one derivation and wording an expression. ``any``: a derivation, its
            sentences and connectives drawn anew for each problem.
        prompt_style: ``plain``, ``terse``, ``paraphrase`` (one of a pool, by problem) or ``paraphrase_<k>``.
        mode: ``strict`` accepts an answer in any style; ``strict_format`` refuses a reply that is not all in ``style``.

    Raises:
        UnknownName, UserError: an option has an unknown or impossible value.
    """

    name: ClassVar[str] = "arithmetic"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = tuple(RULES)
    levels: tuple[int, ...] = LEVELS
    style: str = "sentences"
    solution: str = "any"
    prompt_style: str = "plain"
    mode: str = "strict"

    def __post_init__(self) -> None:
        # A recipe brings lists; a frozen value must be hashable.
        object.__setattr__(self, "rules", _listed("rules", self.rules))
        object.__setattr__(self, "levels", tuple(sorted(set(_listed("levels", self.levels)))))
        for rule in self.rules:
            find_rule(rule)
        if not set(self.levels) <= set(LEVELS):
            raise UserError(f"levels must be numbers of signs from 1 to {LEVELS[-1]}, not {list(self.levels)}")
        find_style(self.style)
        check_prompt_style(self.prompt_style)
        if self.solution not in SOLUTIONS:
            raise UnknownName("solution", self.solution, SOLUTIONS)
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return problem number ``index`` of a split; its expression is the same under every rule.

        Raises:
            UnknownName: no such rule or split.
        """
        find_rule(rule)
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        rng = stream(self.name, seed, split, index, self.levels)
        level = rng.choice(self.levels)
        expression, key = deal(split, level, rng)
        return Problem(self.name, rule, split, index, seed, key, {"expression": expression, "level": level})

    def pose(self, rule: str, expression: str, *, split: str, index: int = 0, seed: int = 0) -> Problem:
        """Return the problem that asks ``expression`` under ``rule``.

        Args:
            rule: Any rule name; it needs not be in play.
            expression: Whole numbers, ``+ - *`` and brackets, whose derivations stay in 0 … 99 under every rule.
            split, index, seed: Labels of the problem; a drawn solution depends on them.

        Raises:
            UserError: it is no such expression.
        """
        for each in {rule, *RULES}:
            if value_of(parse(expression, each)) is None:
                raise UserError(f"{expression!r} leaves 0 … {MAX_VALUE} on some way under {each}")
        signs = [letter for letter in expression if letter in SIGNS]
        if len(signs) not in LEVELS:
            raise UserError(f"{expression!r} has {len(signs)} signs; 1 to {LEVELS[-1]} are possible")
        key = key_of([int(number) for number in _numbers(expression)], signs)
        facts = {"expression": expression, "level": len(signs)}
        return Problem(self.name, rule, split, index, seed, key, facts)

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the one user message that asks ``problem``."""
        text = prompt_text(problem, self.prompt_style, find_rule(problem.rule), find_style(self.style))
        return (Message(role="user", content=text),)

    def demonstrate(self, problem: Problem) -> str:
        """Return a derivation in the asked style, as ``solution`` says: a pure function of the problem."""
        tree = parse(problem.facts["expression"], problem.rule)
        style = find_style(self.style)
        if self.solution == "fixed":
            steps, rng = fixed(tree), None
        else:
            rng = stream("derivation", problem.seed, problem.split, problem.index, problem.facts["expression"])
            steps = drawn(tree, rng)
        return style.write(steps, steps[-1].result, rng)

    def verify(self, problem: Problem, reply: str) -> Verdict:
        """Judge ``reply``. Never raises for any text, and takes bounded time."""
        return verify(self._question(problem), reply)

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """An expression is one question."""
        return (problem,)

    def begin(self, problem: Problem, *, attempts: int = 1) -> Revision:
        """Sequential revision: a failed reply is answered by the verdict's message."""
        return Revision.start(self, problem, attempts=attempts)

    def _question(self, problem: Problem) -> Question:
        expression = problem.facts["expression"]
        value, trained = _value(expression, problem.rule), _value(expression, self.rules[0])
        return Question(
            parse(expression, problem.rule),
            value,
            problem.facts["level"],
            find_style(self.style),
            self.mode == "strict_format",
            None if trained == value else trained,
        )


@lru_cache(maxsize=65_536)
def _value(expression: str, rule: str) -> int:
    value = value_of(parse(expression, rule))
    assert value is not None, "`pose` checks the bounds"
    return value


def _numbers(expression: str) -> list[str]:
    return "".join(letter if letter.isdigit() else " " for letter in expression).split()


def _listed(option: str, value: Sequence[Item]) -> tuple[Item, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise UserError(f"{option} must be a list that is not empty, not {value!r}")
    return tuple(value)
