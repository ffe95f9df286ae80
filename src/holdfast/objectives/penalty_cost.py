"""What a penalty on the update costs a step, and what it keeps in memory. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from holdfast.recipe import Penalty
from holdfast.spectral.counts import count_of

FLOAT = 4
"""Bytes of a float32, in which directions are kept and blocks of the update computed."""


def flops(asked: Penalty, shape: Sequence[int], *, adapter: int | None = None) -> int:
    """Return the FLOPs of the penalty on one tensor, once a step: forward, and backward unless the strength is 0.

    Counted as `holdfast.models.cost` counts: products of an (m, k) with a (k, n) matrix take 2·m·k·n, and as many again
    for each operand that needs a gradient; what is done element by element does not count.

    Args:
        asked: Which blocks, of how many directions.
        shape: (M, N), or (E, M, N) of a stack.
        adapter: Rank of the adapter that learns in the place of the tensor.
    """
    rows, columns = shape[-2:]
    k, whole = _directions(asked, shape)
    union = asked.name == "union"
    one = two = 0  # products with one operand that learns, and with two
    if adapter is not None and whole:
        two = rows * columns * adapter
    elif adapter is not None:
        one = k * adapter * (rows + columns)
        two = k * k * adapter + (k * adapter * (rows + columns) if union else 0)
    elif not whole:
        one = (2 if union else 1) * rows * columns * k + min(rows, columns) * k * k
    learns = asked.strength > 0
    return math.prod(shape[:-2]) * 2 * (one * (2 if learns else 1) + two * (3 if learns else 1))


def held_bytes(asked: Penalty, shape: Sequence[int], *, stored: int, adapter: int | None = None) -> int:
    """Return the bytes that the penalty on one tensor takes at its peak.

    They are W_0 beside what learns (an adapter leaves it in place), the directions, and what backward needs.

    Args:
        asked: As in `flops`.
        shape: As in `flops`.
        stored: Bytes of a stored value of W_0.
        adapter: As in `flops`.
    """
    rows, columns = shape[-2:]
    k, whole = _directions(asked, shape)
    base = 0 if adapter is not None else rows * columns * stored
    directions = 0 if whole else (rows + columns) * k * FLOAT
    blocks = rows * columns if whole else k * k + ((rows + columns) * k if asked.name == "union" else 0)
    return math.prod(shape[:-2]) * (base + directions + blocks * FLOAT)


def _directions(asked: Penalty, shape: Sequence[int]) -> tuple[int, bool]:
    """Return how many directions are meant, and whether they are all of the smaller side's."""
    k = count_of(asked.k, min(shape[-2:]))
    return k, k >= min(shape[-2:])
