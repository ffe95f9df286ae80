"""The user's own rows as an environment, so that a suite of rows and a suite of a game walk one path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from holdfast.data.fingerprint import plain
from holdfast.data.rows import Row
from holdfast.environments.base import Revision
from holdfast.errors import DataError, Fault, UnknownName, did_you_mean
from holdfast.evaluate.math_suites import find_suite, missing, read_problems
from holdfast.evaluate.prompt_styles import HOLE, STYLES, find_style, is_whole, styled
from holdfast.evaluate.scorers import find_scorer
from holdfast.recipe import SuiteSpec
from holdfast.records import Message, Outcome, Problem, Verdict

RULE = "as written"
"""The one rule of a file."""

NOT_APPLICABLE = "not_applicable"
"""Code of the verdict on a row that the scorer cannot judge: the row does not count."""


OPTIONS = ("prompt_style",)
"""Keys of a suite with a path beyond the schema."""


def file_faults(path: str, block: Mapping[str, Any]) -> Iterator[Fault]:
    """Return what is wrong with a suite that has a path, beside the place itself; ``where`` is the key at fault.

    Args:
        path: A file, a folder, or a suite's name.
        block: The suite's keys, those that are not given left out or at their defaults.
    """
    for key in block.keys() - SuiteSpec.model_fields.keys() - set(OPTIONS):
        yield Fault(str(key), f"a suite with a path has no key {key!r}", did_you_mean(str(key), OPTIONS))
    needed = missing(path)
    if needed is not None:
        yield Fault("path", needed)
    if find_suite(path) is not None and block.get("scorer", "exact") in ("exact", "contains"):
        yield Fault("scorer", f"{path} is graded by its final answers", "Write scorer: math.")
    style = block.get("prompt_style")
    if style is None:
        return
    if not isinstance(style, str):
        yield Fault("prompt_style", f"{style!r} is no style", f"Known: {', '.join(sorted(STYLES))}.")
        return
    try:
        find_style(style)
    except UnknownName as fault:
        yield Fault("prompt_style", fault.problem, f"{fault.fix} Or a text with {HOLE} in it.")
    if is_whole(style) and block.get("attempts", 1) != 1:
        yield Fault("attempts", "the style is the whole prompt, which nothing can follow", "Leave out attempts.")


@dataclass(frozen=True)
class FileProblems:
    """Rows of a JSONL file, asked in their order and judged by a scorer. Implements the contract of an environment.

    Rows with the same prompt are one problem for statistics and halves.

    Attributes:
        path: A file (`holdfast.data.rows.read_rows`), or another place that `read_problems` knows.
        scorer: A name of ``SCORERS``, or ``module:function`` with ``allow_code``.
        allow_code: Whether the scorer may be an outsider's.
        prompt_style: How a row is asked (`holdfast.evaluate.prompt_styles`); as it is written if None. A style words
            the last message of a row that has no other but system messages, which it leaves out.
    """

    name: ClassVar[str] = "file"
    multi_step: ClassVar[bool] = False
    path: str
    scorer: str = "exact"
    allow_code: bool = False
    prompt_style: str | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """The one rule."""
        return (RULE,)

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows, read once.

        Raises:
            UserError: see `holdfast.evaluate.math_suites.read_problems`.
        """
        return read_problems(self.path)

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
        """Return the row's messages before the answer, or what the style makes of its question.

        Raises:
            DataError: a style cannot word a row of several turns, or with pictures.
        """
        asked = self.rows[problem.index].example.prompt
        if self.prompt_style is None:
            return asked
        turns = [message for message in asked if message["role"] != "system"]
        if len(turns) != 1 or turns[0].get("images"):
            raise DataError(
                f"{self.rows[problem.index].example.source}: a prompt style words one question without pictures"
            )
        return styled(turns[0]["content"], self.prompt_style)

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
