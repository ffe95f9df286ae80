"""The edits of a healing as products of two factors, matrix by matrix.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of an edit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from holdfast.errors import UserError
from holdfast.heal.apply import Effect, Operation, Part
from holdfast.heal.arithmetic import take
from holdfast.heal.sources import Sources
from holdfast.models.pairs import Entry, Pair
from holdfast.models.safetensors_file import raw_bytes


class Factors(NamedTuple):
    """W_tuned − left · rightᵀ is the healed matrix.

    Attributes:
        entry: The tensor that it is, or (of a stack) belongs to.
        name: Of the tensor, with the matrix's number in a stack.
        left_MK, right_NK: float32, or float64 where a file is; the strength is in ``left_MK``.
        tuned_sha256: Of the tuned tensor's bytes (of the whole stack).
    """

    entry: Entry
    name: str
    left_MK: Tensor
    right_NK: Tensor
    tuned_sha256: str


class LowRank:
    """Iterating yields the factors of every matrix that the healing touches, one in memory at a time.

    Args:
        operation: What is done.
        sources: Read the models.

    Attributes:
        effects: On every tensor seen so far, untouched ones too.

    Raises:
        UserError: the healing takes back a share of a whole update somewhere, which is not of low rank.
    """

    def __init__(self, operation: Operation, sources: Sources) -> None:
        self.operation, self._sources = operation, sources
        self.effects: list[Effect] = []
        if operation.strength and any(operation.share_at(entry) for entry in operation.pair.entries):
            raise _not_of_low_rank()

    def __iter__(self) -> Iterator[Factors]:
        for entry in self.operation.pair.in_file_order():
            pair = self._sources.read(entry)
            if self.operation.share_at(entry) is not None or pair.same:
                self.effects.append(self.operation.measure(pair))
            else:
                yield from self._of(pair)

    def _of(self, pair: Pair) -> Iterator[Factors]:
        digest, measured, rank = hashlib.sha256(raw_bytes(pair.tuned)).hexdigest(), [], 0
        for part in self.operation.parts(pair):
            measured.append(take(part.update, part.edit, strength=self.operation.strength))
            if part.edit.share and self.operation.strength:
                raise _not_of_low_rank()
            if part.edit.left_MK is not None and self.operation.strength:
                rank = max(rank, part.edit.rank)
                yield self._factors(pair.entry, part, digest)
        self.effects.append(self.operation.effect(pair.entry, measured, rank))

    def _factors(self, entry: Entry, part: Part, digest: str) -> Factors:
        left, right = part.edit.left_MK, part.edit.right_NK
        assert left is not None
        assert right is not None
        return Factors(entry, part.name, (self.operation.strength * left).cpu(), right.cpu(), digest)


def _not_of_low_rank() -> UserError:
    return UserError(
        "heal: this healing takes back a share of whole updates, which no product of low rank is: write it as a "
        "checkpoint. Nothing was written."
    )
