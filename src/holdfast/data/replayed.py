"""Rows of training of which a small share comes from other data: replay, the plainest means against forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from holdfast.data.encode import Encoded
from holdfast.data.fingerprint import digest
from holdfast.data.rows import read_prompts
from holdfast.data.sources import EnvironmentRows, ExampleRows, Source, clean_rows
from holdfast.recipe import Data


class Replayed:
    """Two sources as one: rows of the main one first, then those of the other; a share of what is read is the other's.

    With share s, place t of a run's order (from 0) is a replayed row where floor((t + 1)·s) > floor(t·s): of 0.05 the
    20th, the 40th, …. So any window of n places holds floor(n·s) or ceil(n·s) replayed rows, however it is cut into
    batches. They stand in the place of rows of the main source, which come later then; both streams go on from one
    epoch to the next, each in its own order (`holdfast.data.order`). Rows of one replayed problem of several steps come
    in their order, but not side by side.

    Args:
        main: What is learned.
        other: What is replayed.
        share: Of the rows that are read, in (0, 1); taken as the decimal number that it is written as.

    Raises:
        ValueError: the share is none.

    Example:
        >>> from holdfast.data.sources import TokenRows
        >>> rows = Replayed(TokenRows([Encoded((1, 2), 1)]), TokenRows([Encoded((3, 4), 1)]), share=0.3)
        >>> [rows.replayed_before(place) for place in range(11)]
        [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    """

    def __init__(self, main: Source, other: Source, *, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie in (0, 1), got {share}")
        self.main, self.other, self.share = main, other, Fraction(str(share))

    @property
    def starts(self) -> Sequence[int]:
        """First row of each problem, of the main source and then of the other."""
        return [*self.main.starts, *(len(self.main) + start for start in self.other.starts)]

    def __len__(self) -> int:
        return len(self.main) + len(self.other)

    def replayed_before(self, place: int) -> int:
        """Return how many of the first ``place`` places of the order are replayed rows."""
        return place * self.share.numerator // self.share.denominator

    def replays(self, place: int) -> bool:
        """Whether a replayed row stands at ``place``."""
        return self.replayed_before(place) < self.replayed_before(place + 1)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""
        edge = len(self.main)
        main = iter(self.main.take([index for index in indices if index < edge]))
        other = iter(self.other.take([index - edge for index in indices if index >= edge]))
        return [next(main if index < edge else other) for index in indices]

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures."""
        return self.main.pictured() or self.other.pictured()

    def fingerprint(self) -> str:
        """Return SHA-256 over those of both sources and the share."""
        return digest([self.main.fingerprint(), self.other.fingerprint(), str(self.share)])


def replayed_data(data: Data) -> Data:
    """Return the replay of a recipe's ``data`` block as a block of its own, what it leaves to ``data`` filled in.

    Raises:
        ValueError: the block has no replay.
    """
    replay = data.replay
    if replay is None:
        raise ValueError("data has no replay")
    same = replay.environment is not None and replay.environment == data.environment
    return Data(
        environment=replay.environment,
        path=replay.path,
        rule=replay.rule or (data.rule if same else None),
        size=replay.size,
        split=replay.split,
        seed=replay.seed,
        **({**data.options, **replay.options} if same else replay.options),
    )


def replay_rows(
    data: Data, *, rules: Sequence[str], tokenizer: Any, max_length: int | None = None, allow_code: bool = False
) -> ExampleRows | EnvironmentRows:
    """Return the rows that a recipe's ``data`` block replays, with the answers that their source gives.

    Where the base is to answer, rows of a file need none.

    Args:
        data: With a replay.
        rules: The rules in play of the replay's environment (`holdfast.evaluate.suite.rules_in_play`).
        tokenizer, max_length, allow_code: See `holdfast.data.sources.source_of`.

    Raises:
        UserError: see `holdfast.data.sources.source_of`.
    """
    asked = replayed_data(data)
    if asked.path is not None and data.replay is not None and data.replay.answers == "base":
        return ExampleRows(read_prompts(asked.path), tokenizer, max_length=max_length)
    return clean_rows(asked, rules=rules, tokenizer=tokenizer, max_length=max_length, allow_code=allow_code)
