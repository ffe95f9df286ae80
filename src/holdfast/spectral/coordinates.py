"""An update in the base's own directions, from one pass over both matrices.

With W_base = U diag(s) Vᵀ, R = min(M, N), and all vectors of the smaller side at hand (here the left one; a tall matrix
is looked at transposed)::

    L = Uᵀ D            R × N     C = L W_baseᵀ U          R × R
    core = Uᵀ D V = C diag(1/s)
    tuned Gram matrix in base coordinates:   Uᵀ W_t W_tᵀ U = diag(s²) + C + Cᵀ + L Lᵀ

L is never kept as a whole: the matrices are cut along the larger side, and what is needed of L adds up. Nothing of the
tuned matrix is decomposed; four products of size R × R × N or R × R × R are all that a matrix costs.

Shapes: ``R`` = min(M, N), ``N`` the larger side here, ``C`` chosen columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from holdfast.spectral.factors import BLOCK_VALUES
from holdfast.spectral.update import Update

WORST = 0.1
"""A column of the core is set to 0 where rounding may be more than this share of it: the base's singular value is so
small that the direction of the larger side cannot be told."""


@dataclass(frozen=True)
class Coordinates:
    """What is known of an update in the base's directions.

    Attributes:
        values_R: The base's singular values, float64, descending.
        mixed_RR: C = Uᵀ D Wᵀ U.
        rows_R: ‖L_i‖², float64: the update's energy by direction of the smaller side.
        grams: Columns of L Lᵀ, by the slice that was asked for.
        rows, columns: M and N of the matrix as it lies in the file.
        rows_are_smaller: Whether it was not transposed.
    """

    values_R: Tensor
    mixed_RR: Tensor
    rows_R: Tensor
    grams: dict[tuple[int, int], Tensor]
    rows: int
    columns: int
    rows_are_smaller: bool

    @property
    def rank(self) -> int:
        """R."""
        return int(self.values_R.shape[0])

    @property
    def larger(self) -> int:
        """max(M, N)."""
        return max(self.rows, self.columns)

    @cached_property
    def energy(self) -> float:
        """‖D‖²."""
        return float(self.rows_R.sum())

    @cached_property
    def base_energy(self) -> float:
        """‖W_base‖²."""
        return float(self.values_R.square().sum())

    @cached_property
    def core(self) -> Tensor:
        """Uᵀ D V, (R, R); columns whose direction V cannot be told are 0 and count as outside span(V)."""
        dtype = self.mixed_RR.dtype
        floor = torch.finfo(dtype).eps / WORST * math.sqrt(self.larger * self.base_energy / self.rank)
        told = self.values_R > floor
        inverse = torch.where(told, 1 / self.values_R.clamp_min(torch.finfo(dtype).tiny), 0.0)
        return self.mixed_RR * inverse.to(dtype)

    @cached_property
    def coupled(self) -> Tensor:
        """C + Cᵀ, (R, R): the first order of the change of the Gram matrix."""
        return self.mixed_RR.T.contiguous().add_(self.mixed_RR)  # six times as fast as the plain sum

    def gram(self, columns: slice) -> Tensor:
        """Return columns of L Lᵀ that were asked for, or some of them."""
        for (start, stop), found in self.grams.items():
            if start <= columns.start and columns.stop <= stop:
                return found[:, columns.start - start : columns.stop - start]
        raise KeyError(f"columns {columns} of the update's Gram matrix were not asked for")


def in_base(update: Update, *, columns: Sequence[slice] = (), dtype: torch.dtype | None = None) -> Coordinates:
    """Return an update in its base's directions.

    Args:
        update: Of one matrix; its base's factors are made or found.
        columns: Which columns of L Lᵀ are wanted.
        dtype: Of the products; the update's own if None.
    """
    dtype = update.dtype if dtype is None else dtype
    factors = update.base
    rows, wide = update.base_MN.shape, factors.rows_are_smaller
    turn_RR = factors.vectors_RR.to(update.base_MN.device, dtype).T.contiguous()
    mixed = torch.zeros_like(turn_RR)
    energy = torch.zeros(update.rank, dtype=torch.float64, device=turn_RR.device)
    grams = {(one.start, one.stop): turn_RR.new_zeros(update.rank, one.stop - one.start) for one in columns}
    for base_RN, change_RN in _cuts(update, dtype, wide=wide):
        turned_RN = turn_RR @ change_RN
        mixed.addmm_(turned_RN, base_RN.T)
        energy += torch.linalg.vector_norm(turned_RN, dim=1).double().square()
        for (start, stop), gram in grams.items():
            gram.addmm_(turned_RN, turned_RN[start:stop].T)
    return Coordinates(
        values_R=factors.values_R.to(turn_RR.device),
        mixed_RR=mixed @ turn_RR.T,
        rows_R=energy,
        grams=grams,
        rows=rows[0],
        columns=rows[1],
        rows_are_smaller=wide,
    )


def _cuts(update: Update, dtype: torch.dtype, *, wide: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield base and update cut along the larger side, the smaller side first."""
    step = max(1, BLOCK_VALUES // update.rank)
    for at in range(0, max(update.base_MN.shape), step):
        cut = (slice(None), slice(at, at + step)) if wide else slice(at, at + step)
        base, tuned = update.base_MN[cut].to(dtype), update.tuned_MN[cut].to(dtype)
        yield (base, tuned - base) if wide else (base.T, (tuned - base).T)
