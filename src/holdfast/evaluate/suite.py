"""A suite: a named set of problems with a purpose, a fixed seed and a way of decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from holdfast.data.fingerprint import digest, options_of
from holdfast.data.sources import environment_of
from holdfast.environments.base import Environment, Episode
from holdfast.errors import UserError
from holdfast.evaluate.file_problems import RULE, FileProblems, file_faults
from holdfast.evaluate.scorers import find_scorer
from holdfast.recipe import Data, Decoding, Recipe, SuiteSpec
from holdfast.records import Problem

SELECT, REPORT, ALL = "select", "report", "all"


@dataclass(frozen=True)
class Suite:
    """A named set of problems.

    Attributes:
        name: As in the recipe.
        purpose: ``id``, ``ood`` or ``retention``.
        environment: Makes and judges the problems; `FileProblems` for the user's own rows.
        rule, split, seed: Which sequence of problems. The seed is the suite's own: all runs ask the same problems.
        size: Problems at the first and the last moment.
        size_during: Problems at the moments between: the first of them; 0 if it is asked only at the ends.
        attempts: Answers a problem, each after the first with feedback.
        decoding: How the model answers.
        halves: Whether a signal reads the suite, so that it is split into a half to select by and a half to report.
    """

    name: str
    purpose: str
    environment: Environment
    rule: str
    size: int
    size_during: int
    split: str
    seed: int
    attempts: int
    decoding: Decoding
    halves: bool

    def problems(self, n: int | None = None) -> tuple[Problem, ...]:
        """Return the first ``n`` problems, all ``size`` if None; fewer are nested in more."""
        return self._problems[:n]

    def episodes(self, n: int | None = None) -> tuple[Episode, ...]:
        """Return an unbegun episode for each problem and each of ``decoding.samples``, problem by problem."""
        return tuple(
            self.environment.begin(problem, attempts=self.attempts)
            for problem in self.problems(n)
            for _ in range(self.decoding.samples)
        )

    def steps(self, n: int | None = None) -> tuple[tuple[int, Problem], ...]:
        """Return the single questions of the first ``n`` problems, each with its number within its problem."""
        return tuple(
            numbered for problem in self.problems(n) for numbered in enumerate(self.environment.steps(problem))
        )

    def half_of(self, problem: Problem) -> str:
        """Return ``select`` or ``report``, or ``all`` where the suite is not split.

        The hands of a paired suite share their fact ``pair``, so a hand lies in the same half under every rule.
        """
        return half(str(problem.facts.get("pair", problem.key))) if self.halves else ALL

    def fingerprint(self) -> str:
        """Return SHA-256 of what is asked and how: two evaluations with one fingerprint ask exactly the same.

        Covers the environment's options, every prompt and demonstration, attempts and decoding; not the name, the
        purpose, or whether the suite is split.
        """
        asked = [[self.environment.prompt(step), self.environment.demonstrate(step)] for _, step in self.steps()]
        how = [options_of(self.environment), self.rule, self.attempts, self.decoding.model_dump(), self.seed]
        return digest([how, *asked])

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return tuple(
            self.environment.sample(self.rule, self.split, index, seed=self.seed) for index in range(self.size)
        )


def half(key: str) -> str:
    """Return ``select`` or ``report``: one bit of SHA-256 of the key, the same on every machine."""
    return (SELECT, REPORT)[hashlib.sha256(f"holdfast half {key}".encode()).digest()[0] & 1]


def rules_in_play(recipe: Recipe, environment: str | None = None) -> tuple[str, ...]:
    """Return the rules that blocks of one environment name: the training rule, a replayed one, those of the suites.

    Args:
        recipe: The whole recipe.
        environment: Name of the environment; that of ``data`` if None.
    """
    name = recipe.data.environment if environment is None else environment
    replay = [] if recipe.data.replay is None else [recipe.data.replay]
    blocks = [recipe.data, *replay, *recipe.suites.values()]
    named = [block.rule for block in blocks if block.environment == name and block.rule is not None]
    return tuple(dict.fromkeys(named))


def make(
    name: str,
    spec: SuiteSpec,
    *,
    data: Data,
    rules_in_play: Sequence[str],
    read_by_signal: bool,
    allow_code: bool = False,
) -> Suite:
    """Build one suite of a recipe.

    Args:
        name: The suite's name.
        spec: Its block. Rule and options that it does not give are those of ``data`` if it names the same environment.
        data: The recipe's data block.
        rules_in_play: See `rules_in_play`, for the environment of ``spec``.
        read_by_signal: Whether a signal or a choice of checkpoint reads the suite: then it is split into halves.
        allow_code: Whether the block may name an outsider's ``module:Class`` or ``module:function``.

    Raises:
        UserError: neither or both of environment and path are given, an option or scorer is unknown, or a rule is
            missing.
        DataError: the file cannot be used.
    """
    if (spec.path is None) == (spec.environment is None):
        raise UserError(f"suite {name}: give either an environment with a rule, or a path")
    environment, rule, size = _problems_of(name, spec, data, rules_in_play, allow_code)
    return Suite(
        name=name,
        purpose=spec.purpose,
        environment=environment,
        rule=rule,
        size=size,
        size_during=size if spec.size_during is None else min(spec.size_during, size),
        split=spec.split,
        seed=spec.seed,
        attempts=spec.attempts,
        decoding=spec.decoding,
        halves=read_by_signal,
    )


def make_all(recipe: Recipe, *, reads: Collection[str] = (), allow_code: bool = False) -> tuple[Suite, ...]:
    """Build all suites of a recipe, in its order.

    Args:
        recipe: The whole recipe.
        reads: Readings of the signal; a suite is split if one of them is its own and not of its report half alone.
        allow_code: See `make`.

    Raises:
        UserError: see `make`.
    """
    return tuple(
        make(
            name, spec, data=recipe.data, rules_in_play=rules_in_play(recipe, spec.environment),
            read_by_signal=name in {suite_read(reading, recipe.suites) for reading in reads}, allow_code=allow_code,
        )
        for name, spec in recipe.suites.items()
    )  # fmt: skip


def suite_read(reading: str, suites: Collection[str]) -> str | None:
    """Return the suite that ``eval_<suite>_<metric>`` belongs to: the longest fitting name, as names hold underscores.

    Example:
        >>> suite_read("eval_ood_far_success", ["ood", "ood_far"])
        'ood_far'
    """
    fitting = [name for name in suites if reading.startswith(f"eval_{name}_")]
    return max(fitting, key=len, default=None)


def _problems_of(
    name: str, spec: SuiteSpec, data: Data, rules: Sequence[str], allow_code: bool
) -> tuple[Environment, str, int]:
    if spec.path is not None:
        for _, problem, fix in file_faults(spec.path, spec.model_dump()):
            raise UserError(f"suite {name}: {problem}. {fix}")
        find_scorer(spec.scorer, allow_code=allow_code)
        rows = FileProblems(spec.path, spec.scorer, allow_code, **spec.options)
        return rows, RULE, min(spec.size, len(rows.rows))
    assert spec.environment is not None
    same = spec.environment == data.environment
    options = {**data.options, **spec.options} if same else spec.options
    rule = spec.rule or (data.rule if same else None)
    if rule is None:
        raise UserError(f"suite {name}: rule is missing; name the rule of {spec.environment} to ask under")
    environment = environment_of(spec.environment, rules=rules or (rule,), options=options, allow_code=allow_code)
    return environment, rule, spec.size
