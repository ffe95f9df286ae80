"""The user's own rows as an environment, so that a suite of rows and a suite of a game walk one path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from holdfast.data.fingerprint import plain
from holdfast.data.rows import Row, read_table
from holdfast.environments.base import Revision
from holdfast.errors import DataError
from holdfast.evaluate.scorers import find_scorer
from holdfast.records import Message, Outcome, Problem, Verdict

RULE = "as written"
"""The one rule of a file."""

NOT_APPLICABLE = "not_applicable"
"""Code of the verdict on a row that the scorer cannot judge: the row does not count."""


@dataclass(frozen=True)
class FileProblems:
    """Rows of a JSONL file, asked in their order and judged by a scorer. Implements the contract of an environment.

    Rows with the same prompt are one problem for statistics and halves.

    Attributes:
        path: See `holdfast.data.rows.read_rows`.
        scorer: A name of ``SCORERS``, or ``module:function`` with ``allow_code``.
        allow_code: Whether the scorer may be an outsider's.
    """

    name: ClassVar[str] = "file"
    multi_step: ClassVar[bool] = False
    path: str
    scorer: str = "exact"
    allow_code: bool = False

    @property
    def rules(self) -> tuple[str, ...]:
        """The one rule."""
        return (RULE,)

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The file's rows, read once.

        Raises:
            DataError: see `holdfast.data.rows.read_rows`.
        """
        return read_table(Path(self.path))

    def sample(self, rule: str, split: str, index: int, *, seed: int) -> Problem:
        """Return row ``index``.

        Raises:
            DataError: the file has fewer rows.
        """
        if index >= len(self.rows):
            raise DataError(f"{self.path} has {len(self.rows)} rows; row {index} was asked for")
        prompt = json.dumps(self.rows[index].example.prompt, sort_keys=True, default=plain)
        key = hashlib.sha256(prompt.encode()).hexdigest()[:16]
        return Problem(self.name, rule, split, index, seed, key=key)

    def prompt(self, problem: Problem) -> tuple[Message, ...]:
        """Return the row's messages before the answer."""
        return self.rows[problem.index].example.prompt

    def demonstrate(self, problem: Problem) -> str:
        """Return the row's answer."""
        return self.rows[problem.index].example.completion

    def verify(self, problem: Problem, reply: str) -> Verdict:
        """Judge a reply by the scorer; an outsider's errors are its own and are raised.

        Raises:
            DataError: the scorer returns something else than one number or None a row.
        """
        row = self.rows[problem.index]
        columns = {"answer": row.example.completion, **row.columns}
        scores = find_scorer(self.scorer, allow_code=self.allow_code)(
            prompts=[list(row.example.prompt)],
            completions=[[Message(role="assistant", content=reply)]],
            completion_ids=None,
            trainer_state=None,
            **{name: [value] for name, value in columns.items()},
        )
        if not isinstance(scores, list) or len(scores) != 1 or not isinstance(scores[0], int | float | None):
            raise DataError(
                f"scorer {self.scorer} must return a list of one number (or None) a row, it returned {scores!r}"
            )
        if scores[0] is None:
            return Verdict(Outcome.UNPARSED, 0.0, NOT_APPLICABLE, "This cannot be judged.")
        score = float(scores[0])
        if score >= 1:
            return Verdict(Outcome.CORRECT, score, "right", "That is right.")
        return Verdict(Outcome.WRONG, score, "wrong", "That is not the expected answer. Try again.")

    def steps(self, problem: Problem) -> tuple[Problem, ...]:
        """A row is one question."""
        return (problem,)

    def begin(self, problem: Problem, *, attempts: int = 1) -> Revision:
        """Sequential revision: a failed reply is answered by the verdict's message."""
        return Revision.start(self, problem, attempts=attempts)
