"""W_tuned − strength · E and what it does, in one pass over blocks that stay in the processor's cache.

Products run in slices of rows, elementwise work in smaller blocks. All of it is in float32, or float64 where a file is;
the difference of half-precision weights is exact in float32. What did not move keeps its bits, −0.0 included.

Shapes: ``M`` rows, ``N`` columns; a trailing ``V`` stands for values in a row, whatever their tensor's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.heal.base import Edit
from holdfast.spectral.update import Update

CACHED = 31 << 10
"""Values that are worked on at a time on a CPU: a tenth of a megabyte of float32, and too little for threads."""


@dataclass(frozen=True)
class Measured:
    """What an edit does to some values; of half-precision and float32 files to about six digits.

    Attributes:
        energy: ‖D‖².
        undone: <W_tuned − W', D>, before rounding.
        edited: ‖W_tuned − W'‖², before rounding.
        rounding: ‖W' − what was written‖²: the rounding to the tuned file's dtype. 0 where nothing was written.
    """

    energy: float = 0.0
    undone: float = 0.0
    edited: float = 0.0
    rounding: float = 0.0


def together(parts: list[Measured]) -> Measured:
    """Return the sums over all parts."""
    return Measured(
        *(math.fsum(vars(part)[name] for part in parts) for name in ("energy", "undone", "edited", "rounding"))
    )


def blend(base_V: Tensor, tuned_V: Tensor, *, taken: float, into: Tensor | None = None) -> Measured:
    """Take a share of D back.

    Args:
        base_V, tuned_V: Flat, of any dtypes of weights, on one device.
        taken: 0 writes nothing; 1 writes the base, bit for bit where the dtypes are the same.
        into: Flat, of the tuned file's dtype, on the CPU; may be ``tuned_V`` itself. None measures only.
    """
    return _in_blocks(base_V, tuned_V, None, share=1.0, strength=taken, into=into)


def take(update: Update, edit: Edit, *, strength: float, into: Tensor | None = None) -> Measured:
    """Take E of a matrix back.

    Args:
        update: Of the matrix.
        edit: Names E.
        strength: 0 writes nothing.
        into: Shape (M, N), of the tuned file's dtype, on the CPU; may be the tuned matrix itself. None measures only.
    """
    left, right = edit.left_MK, edit.right_NK
    if left is None or right is None:
        flat = None if into is None else into.view(-1)
        base, tuned = update.base_MN.reshape(-1), update.tuned_MN.reshape(-1)
        return _in_blocks(base, tuned, None, share=edit.share, strength=strength, into=flat)
    parts = []
    for rows in update.rows():
        low = (left[rows] @ right.T).reshape(-1)
        base, tuned = update.base_MN[rows].reshape(-1), update.tuned_MN[rows].reshape(-1)
        flat = None if into is None else into[rows].view(-1)
        parts.append(_in_blocks(base, tuned, low, share=edit.share, strength=strength, into=flat))
    return together(parts)


def _in_blocks(
    base_V: Tensor, tuned_V: Tensor, low_V: Tensor | None, *, share: float, strength: float, into: Tensor | None
) -> Measured:
    if not base_V.numel():
        return Measured()
    step = CACHED if base_V.device.type == "cpu" else base_V.numel()
    if not strength or (not share and low_V is None):
        into = None
    dtype = torch.promote_types(torch.promote_types(base_V.dtype, tuned_V.dtype), torch.float32)
    count = math.ceil(base_V.numel() / step)

    def cut(values: Tensor | None) -> Sequence[Tensor | None]:
        return [None] * count if values is None else torch.split(values, step)

    done = [
        _block(base.to(dtype), tuned.to(dtype), low, share=share, strength=strength, into=destination)
        for base, tuned, low, destination in zip(
            torch.split(base_V, step), torch.split(tuned_V, step), cut(low_V), cut(into), strict=True
        )
    ]
    return Measured(*map(math.fsum, zip(*done, strict=True)))


def _block(
    base: Tensor, tuned: Tensor, low: Tensor | None, *, share: float, strength: float, into: Tensor | None
) -> tuple[float, float, float, float]:
    """Heal one block; return the values of `Measured`."""
    update = tuned - base
    energy, rounding = _square(update), 0.0
    undone, edited = share * energy, share**2 * energy
    if low is not None:
        edit = low if not share else low + share * update
        undone, edited = float((edit * update).sum()), _square(edit)
    if into is not None:
        healed = _between(base, tuned, update, strength * share)
        if low is not None:
            healed = torch.sub(healed, low, alpha=strength)
        into.copy_(healed)
        if into.dtype != healed.dtype:
            rounding = _square(healed - into.to(healed.device, healed.dtype))
    return energy, strength * undone, strength**2 * edited, rounding


def _between(base: Tensor, tuned: Tensor, update: Tensor, taken: float) -> Tensor:
    """Return W_tuned − taken · D from the nearer end. Subtracting +0.0 leaves every bit, adding it would not."""
    if taken in (0.0, 1.0):
        return base if taken else tuned
    if taken <= 0.5:
        return torch.sub(tuned, update, alpha=taken)
    return torch.sub(base, base - tuned, alpha=1.0 - taken)


def _square(values: Tensor) -> float:
    # Not torch.dot: of this size it wakes a thread pool, which then spins for what others wait for.
    return float(torch.linalg.vector_norm(values)) ** 2
