"""Rows some of whose learned tokens are wrong: what a data set with mistakes looks like to an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from holdfast.data.encode import Encoded
from holdfast.data.fingerprint import digest
from holdfast.data.pictures import tokenizer_of

if TYPE_CHECKING:
    from holdfast.data.sources import Source


class Corrupted:
    """Another source with a share of its learned tokens replaced by others, drawn evenly from the vocabulary.

    Prompts, and tokens that end an answer or are special otherwise, stay. Which tokens are replaced, and by what, is a
    function of the row's number and of ``seed``: a row is wrong in the same way each time it is read.

    Args:
        source: Of whole rows.
        share: Of learned tokens, in (0, 1).
        seed: Of the mistakes.
        tokenizer: A Transformers tokenizer, or a processor.
    """

    def __init__(self, source: Source, *, share: float, seed: int, tokenizer: Any) -> None:
        self.source, self.share, self.seed = source, share, seed
        own = tokenizer_of(tokenizer)
        self._special = frozenset(own.all_special_ids) | frozenset(own.added_tokens_decoder)
        self._words = sorted(set(own.get_vocab().values()) - self._special)

    @property
    def starts(self) -> Sequence[int]:
        """As of the source."""
        return self.source.starts

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        """Return these rows, in this order."""
        return [self._wrong(row, number) for row, number in zip(self.source.take(indices), indices, strict=True)]

    def pictured(self) -> Encoded | None:
        """Return the first row with pictures."""
        return self.source.pictured()

    def fingerprint(self) -> str:
        """Return SHA-256 over that of the source and the mistakes."""
        return digest([self.source.fingerprint(), self.share, self.seed])

    def _wrong(self, row: Encoded, number: int) -> Encoded:
        rng = Random(f"holdfast corrupted {self.seed} {number}")
        ids = list(row.input_ids)
        for place in range(row.n_prompt, len(ids)):
            if rng.random() < self.share and ids[place] not in self._special:
                ids[place] = rng.choice(self._words)
        return replace(row, input_ids=tuple(ids))
