"""The order in which a run reads rows: a pure function of (seed, epoch, place).

Epoch after epoch, each a new permutation of the problems, with the rows of a problem (the steps of a route) one after
another. Where a share of the rows is replayed, the two streams keep their own orders, and every place of the run's
order belongs to one of them by its number alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from random import Random

from holdfast.data.replayed import Replayed
from holdfast.data.sources import Source


@functools.lru_cache(maxsize=4)
def order(size: int, *, seed: int, epoch: int, stream: str = "order") -> tuple[int, ...]:
    """Return the permutation of ``range(size)`` in which an epoch reads the problems.

    Args:
        size: Problems.
        seed, epoch: Of the run, and of the place in it.
        stream: Streams of different names are ordered independently.
    """
    numbers = list(range(size))
    Random(f"holdfast {stream} {seed} {epoch}").shuffle(numbers)
    return tuple(numbers)


def epoch_length(source: Source) -> int:
    """Return the rows that a run reads in one epoch: those of the source, replayed ones in the place of some."""
    return len(source.main) if isinstance(source, Replayed) else len(source)


def places_of_all(source: Source) -> int:
    """Return a number of places in a row of the order that surely hold every row, wherever they begin."""
    if not isinstance(source, Replayed):
        return 2 * len(source)
    return max(
        math.ceil((2 * len(source.main) + 1) / (1 - source.share)),
        math.ceil((2 * len(source.other) + 1) / source.share),
    )


def rows_of_epoch(source: Source, *, seed: int, epoch: int) -> Sequence[int]:
    """Return the row numbers of an epoch, `epoch_length` of them, in order."""
    if not isinstance(source, Replayed):
        return _permuted(source, seed=seed, epoch=epoch, stream="order")
    length = epoch_length(source)
    places = range(epoch * length, (epoch + 1) * length)
    before, after = source.replayed_before(places.start), source.replayed_before(places.stop)
    main = iter(_stretch(source.main, places.start - before, places.stop - after, seed=seed, stream="order"))
    other = iter(_stretch(source.other, before, after, seed=seed, stream="replay"))
    edge = len(source.main)
    return [edge + next(other) if source.replays(place) else next(main) for place in places]


def _stretch(source: Source, first: int, end: int, *, seed: int, stream: str) -> list[int]:
    """Return rows ``first`` to ``end`` of a source's endless stream."""
    size, rows = len(source), list[int]()
    for epoch in range(first // size, -(-end // size)):
        whole = _permuted(source, seed=seed, epoch=epoch, stream=stream)
        rows += whole[max(0, first - epoch * size) : end - epoch * size]
    return rows


def _permuted(source: Source, *, seed: int, epoch: int, stream: str) -> Sequence[int]:
    starts = source.starts
    problems = order(len(starts), seed=seed, epoch=epoch, stream=stream)
    if len(starts) == len(source):
        return problems
    ends = (*starts[1:], len(source))
    return [row for problem in problems for row in range(starts[problem], ends[problem])]
