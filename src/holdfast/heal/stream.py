"""The healed tensors as they are written: read, hashed, healed and hashed again, all at once.

A tensor of which a known share is taken back comes in pieces of a few megabytes, any other one as a whole. One thread a
model reads ahead and hashes what it reads, this thread heals, and one hashes the result while it is being written; no
more than one whole tensor of each model is in memory.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple, Self

from torch import Tensor

from holdfast.heal.apply import Effect, Operation
from holdfast.heal.arithmetic import Measured
from holdfast.heal.sources import Hashes, Sources
from holdfast.models.pairs import Entry, Pair
from holdfast.models.safetensors_file import raw_bytes

PIECE_BYTES = 1 << 21
"""Of each model, that are worked on at a time."""
AHEAD = 3
"""Pieces that are read before they are needed, and written before they are hashed."""


class Item(NamedTuple):
    """What is healed at a time: values of a tensor of which a known ``share`` is taken back, or (None) all of one."""

    entry: Entry
    values: range
    share: float | None

    @property
    def whole(self) -> bool:
        """Whether it is all of the tensor."""
        return len(self.values) == self.entry.n_values

    @property
    def last(self) -> bool:
        """Whether the tensor ends with it."""
        return self.values.stop == self.entry.n_values


def items(operation: Operation) -> Iterator[Item]:
    """Yield everything that is to be healed, as it lies in the tuned model's files."""
    for entry in operation.pair.in_file_order():
        share, count = operation.share_at(entry), entry.n_values
        step = max(1, count if share is None else PIECE_BYTES // entry.dtype.itemsize)
        for at in range(0, max(1, count), step):
            yield Item(entry, range(at, min(at + step, count)), share)


class Stream:
    """Heals while it is iterated, for `holdfast.models.tensors.write_folder`. Leave it as a context manager.

    Args:
        operation: What is done.

    Attributes:
        effects: What was done so far, by tensor.
        digests: SHA-256 of every healed tensor's bytes, by its name.
    """

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.effects: list[Effect] = []
        self.digests: dict[str, str] = {}
        self._sources = Sources(operation.pair)
        self._hashing = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._open.enter_context(self._sources)
        self._open.callback(self._hashing.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def source_hashes(self) -> Hashes:
        """Return the hashes of all weight files of both models."""
        return self._sources.hashes()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor, whole or in flat pieces, in the order of `items`.

        Raises:
            ModelError: a file was cut meanwhile, or a tensor holds NaN or infinity.
        """
        measured: list[Measured] = []
        digest, hashed = hashlib.sha256(), deque[Future[None]]()
        for item, base, tuned in self._read_ahead():
            pair = Pair(item.entry, base.result(), tuned.result())
            effect = self._healed(item, pair, measured)
            hashed.append(self._hashing.submit(digest.update, raw_bytes(pair.tuned)))
            yield item.entry.name, pair.tuned.view(item.entry.shape) if item.whole else pair.tuned
            while len(hashed) > (0 if item.last else AHEAD):
                hashed.popleft().result()
            if effect is not None:
                self.effects.append(effect)
                self.digests[effect.name] = digest.hexdigest()
                measured, digest = [], hashlib.sha256()
            del pair, base, tuned  # before the next is read

    def _healed(self, item: Item, pair: Pair, measured: list[Measured]) -> Effect | None:
        """Heal in place and return the tensor's effect once all of it is healed."""
        entry = item.entry
        if item.share is None:
            shaped = Pair(entry, pair.base.view(entry.shape), pair.tuned.view(entry.shape))
            return self.operation.heal(shaped).effect
        if not pair.same:
            measured.append(self.operation.heal_piece(entry, pair.base, pair.tuned, share=item.share))
        return self.operation.effect(entry, measured) if item.last else None

    def _read_ahead(self) -> Iterator[tuple[Item, Future[Tensor], Future[Tensor]]]:
        waiting = deque[tuple[Item, Future[Tensor], Future[Tensor]]]()
        for item in items(self.operation):
            waiting.append((item, *self._sources.start(item.entry, item.values)))
            while len(waiting) > AHEAD or (waiting and item.share is None):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
