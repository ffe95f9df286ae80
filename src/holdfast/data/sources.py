"""Where token rows come from: the user's examples, or an environment's demonstrations."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from holdfast import members
from holdfast.data.corrupted import Corrupted
from holdfast.data.encode import Encoded, encode_all
from holdfast.data.fingerprint import digest, options_of
from holdfast.data.rows import read_rows
from holdfast.environments import ENVIRONMENTS
from holdfast.environments.base import Environment
from holdfast.errors import UserError
from holdfast.recipe import Data
from holdfast.records import Example, Problem

PRINTED_ROWS = 64
"""Rows of an environment that its fingerprint reads, so that a change of wording or sampling code shows."""


class Source(Protocol):
    """A finite list of token rows that can be read in any order."""

    @property
    def starts(self) -> Sequence[int]:
        """Number of the first row of each problem, rising from 0: rows of one problem are read one after another."""

    def __len__(self) -> int:
        """Number of distinct rows."""

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures; None if the rows are text."""

    def fingerprint(self) -> str:
        """Return SHA-256 of what the rows say: it is part of a run's identity."""


class ExampleRows:
    """Examples, encoded at once, so that a row that cannot be learned is named before training.

    Args:
        examples: At least one.
        tokenizer: A Transformers tokenizer, or a processor where there are pictures.
        max_length: See `encode_all`.

    Raises:
        DataError: a row cannot be encoded.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: Any, *, max_length: int | None = None) -> None:
        self.examples = tuple(examples)
        self._rows = encode_all(self.examples, tokenizer, max_length=max_length)

    @property
    def starts(self) -> Sequence[int]:
        """Each row is a problem of its own."""
        return range(len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""
        return [self._rows[index] for index in indices]

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures."""
        return next((row for row in self._rows if row.pictures), None)

    def fingerprint(self) -> str:
        """Return SHA-256 over prompts and completions, in order; not over file names."""
        return digest([example.prompt, example.completion] for example in self.examples)


class TokenRows:
    """Rows that are tokens already.

    Args:
        rows: In order.
        each: Rows of one example, which stay together: two where answers are compared.
    """

    def __init__(self, rows: Sequence[Encoded], *, each: int = 1) -> None:
        self._rows, self._each = tuple(rows), each

    @property
    def starts(self) -> Sequence[int]:
        """First row of each example."""
        return range(0, len(self._rows), self._each)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""
        return [self._rows[index] for index in indices]

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures."""
        return next((row for row in self._rows if row.pictures), None)

    def fingerprint(self) -> str:
        """Return SHA-256 over the tokens of all rows, in order."""
        return digest([row.input_ids, row.n_prompt, [one.to_json() for one in row.pictures]] for row in self._rows)


class Twice:
    """Rows that each come twice in a row: what stands for pairs before there are any.

    Args:
        source: Of single rows.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def starts(self) -> Sequence[int]:
        """First of each two."""
        return range(0, len(self), 2)

    def __len__(self) -> int:
        return 2 * len(self.source)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""
        return self.source.take([index // 2 for index in indices])

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures."""
        return self.source.pictured()

    def fingerprint(self) -> str:
        """Return that of the single rows."""
        return self.source.fingerprint()


class EnvironmentRows:
    """Demonstrations of an environment, a row for each step of a problem: encoded when first read, then kept.

    Args:
        environment: Makes the problems.
        rule, split, seed: Which sequence of problems.
        size: Number of distinct problems. Of problems of several steps there are more rows than problems.
        tokenizer: A Transformers tokenizer, or a processor where there are pictures.
        max_length: See `encode_all`.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        rule: str,
        split: str,
        seed: int,
        size: int,
        tokenizer: Any,
        max_length: int | None = None,
    ) -> None:
        self.environment, self.rule, self.split, self.seed, self.size = environment, rule, split, seed, size
        self._tokenizer, self._max_length = tokenizer, max_length
        self._rows: dict[int, Encoded] = {}
        self._starts: Sequence[int] = range(size)
        self._length = size
        if environment.multi_step:
            # Only the numbers of steps are kept: problems are made again when they are read.
            steps = (len(environment.steps(self._problem(number))) for number in range(size))
            *self._starts, self._length = itertools.accumulate(steps, initial=0)

    @property
    def starts(self) -> Sequence[int]:
        """First row of each problem."""
        return self._starts

    def __len__(self) -> int:
        return self._length

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order; those not yet known are made together.

        Raises:
            DataError: a row cannot be encoded.
        """
        new = [index for index in dict.fromkeys(indices) if index not in self._rows]
        if new:
            made = encode_all([self.example(i) for i in new], self._tokenizer, max_length=self._max_length)
            self._rows.update(zip(new, made, strict=True))
        return [self._rows[index] for index in indices]

    def pictured(self) -> Encoded | None:
        """Return the first row, which has a picture if any has."""
        (first,) = self.take([0])
        return first if first.pictures else None

    def example(self, index: int) -> Example:
        """Return row ``index`` as messages."""
        number = bisect.bisect_right(self._starts, index) - 1
        step = self.environment.steps(self._problem(number))[index - self._starts[number]]
        source = f"{self.environment.name} {self.rule}/{self.split} row {index}"
        return Example(self.environment.prompt(step), self.environment.demonstrate(step), source)

    def _problem(self, number: int) -> Problem:
        return self.environment.sample(self.rule, self.split, number, seed=self.seed)

    def fingerprint(self) -> str:
        """Return SHA-256 over the environment's options, the sequence's name, and the text of its first rows."""
        name = [self.environment.name, options_of(self.environment), self.rule, self.split, self.seed, self.size]
        first = [self.example(index) for index in range(min(len(self), PRINTED_ROWS))]
        return digest([name, *([example.prompt, example.completion] for example in first)])


def environment_of(
    name: str, *, rules: Sequence[str], options: dict[str, Any], allow_code: bool = False
) -> Environment:
    """Build an environment of a recipe with the rules in play, between which its splits are kept disjoint.

    Raises:
        UserError: there is no such environment, or it refuses its options.
    """
    spec = {"name": name, "rules": tuple(rules), **options}
    environment: Environment = members.build("environment", spec, ENVIRONMENTS, allow_code=allow_code)
    return environment


def source_of(
    data: Data,
    *,
    rules: Sequence[str],
    tokenizer: Any,
    max_length: int | None = None,
    allow_code: bool = False,
) -> Source:
    """Return the rows that a recipe's ``data`` block names.

    Args:
        data: An environment with a rule, or a path.
        rules: The rules in play (`holdfast.evaluate.suite.rules_in_play`).
        tokenizer: A Transformers tokenizer, or a processor where there are pictures.
        max_length: See `encode_all`.
        allow_code: Whether the block may name an outsider's ``module:Class``.

    Raises:
        UserError: the block names neither or both of path and environment, or no rule; or the rows are unusable.
    """
    rows = clean_rows(data, rules=rules, tokenizer=tokenizer, max_length=max_length, allow_code=allow_code)
    return Corrupted(rows, share=data.corrupt, seed=data.seed, tokenizer=tokenizer) if data.corrupt else rows


def clean_rows(
    data: Data, *, rules: Sequence[str], tokenizer: Any, max_length: int | None, allow_code: bool
) -> ExampleRows | EnvironmentRows:
    """As `source_of`, without mistakes: ``corrupt`` is not read."""
    if (data.path is None) == (data.environment is None):
        raise UserError("data: give either an environment with a rule, or a path")
    if data.path is not None:
        return ExampleRows(read_rows(data.path), tokenizer, max_length=max_length)
    assert data.environment is not None
    environment = environment_of(data.environment, rules=rules, options=data.options, allow_code=allow_code)
    if data.rule is None:
        raise UserError(f"data: rule is missing; environment {data.environment} knows {', '.join(environment.rules)}")
    return EnvironmentRows(
        environment, rule=data.rule, split=data.split, seed=data.seed, size=data.size,
        tokenizer=tokenizer, max_length=max_length,
    )  # fmt: skip
