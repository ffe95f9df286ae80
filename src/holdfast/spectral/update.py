"""The update of one matrix, D = W_tuned − W_base, never kept as a whole: products with it run over slices of rows.

Shapes: ``M`` rows, ``N`` columns, ``R`` = min(M, N), ``K`` chosen directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from holdfast.spectral.counts import count_of
from holdfast.spectral.factors import BLOCK_VALUES, Basis, Factors, factorize


class Update:
    """What training did to one matrix, and the singular systems that it is looked at in.

    Args:
        base_MN, tuned_MN: In the dtypes of their files, on one device.
        factors: Makes or finds the base's singular system (`holdfast.spectral.cache`); computed here if None.

    Attributes:
        dtype: Of products: float64 if a file is, else float32, in which the difference of half-precision weights is
            exact.
    """

    def __init__(self, base_MN: Tensor, tuned_MN: Tensor, *, factors: Callable[[], Factors] | None = None) -> None:
        if base_MN.shape != tuned_MN.shape or base_MN.ndim != 2:
            raise ValueError(f"two matrices of one shape are needed, got {base_MN.shape} and {tuned_MN.shape}")
        self.base_MN, self.tuned_MN = base_MN, tuned_MN
        wide = torch.float64 in (base_MN.dtype, tuned_MN.dtype)
        self.dtype = torch.float64 if wide else torch.float32
        self._factors = factors

    @property
    def rank(self) -> int:
        """R = min(M, N)."""
        return min(self.base_MN.shape)

    @cached_property
    def base(self) -> Factors:
        """The base's singular system."""
        return factorize(self.base_MN) if self._factors is None else self._factors()

    @cached_property
    def tuned(self) -> Factors:
        """The tuned matrix's singular system."""
        return factorize(self.tuned_MN)

    @cached_property
    def own(self) -> Factors:
        """The singular system of D itself."""
        return factorize(self.whole())

    def own_basis(self, columns: slice) -> Basis:
        """Return chosen directions of D."""
        return self.own.basis(self.whole(), columns, dtype=self.dtype)

    def whole(self) -> Tensor:
        """Return D as a whole, in ``dtype``: as much memory as a float32 copy of the matrix."""
        return self.difference(slice(None))

    def leading(self, share: float | int) -> Basis:
        """Return the base's first directions: a share of R in (0, 1), or a number of them."""
        return self._basis(slice(0, count_of(share, self.rank)))

    def trailing(self, share: float | int) -> Basis:
        """Return the base's last directions."""
        return self._basis(slice(self.rank - count_of(share, self.rank), self.rank))

    def tuned_basis(self, columns: slice) -> Basis:
        """Return chosen directions of the tuned matrix."""
        return self.tuned.basis(self.tuned_MN, columns, dtype=self.dtype)

    def base_basis(self, columns: slice) -> Basis:
        """Return chosen directions of the base."""
        return self._basis(columns)

    def _basis(self, columns: slice) -> Basis:
        return self.base.basis(self.base_MN, columns, dtype=self.dtype)

    def rows(self) -> Iterator[slice]:
        """Yield slices of rows that are worked on at a time."""
        rows, columns = self.base_MN.shape
        step = max(1, BLOCK_VALUES // columns)
        return (slice(at, min(at + step, rows)) for at in range(0, rows, step))

    def difference(self, rows: slice) -> Tensor:
        """Return D of some rows in ``dtype``."""
        return self.tuned_MN[rows].to(self.dtype) - self.base_MN[rows].to(self.dtype)

    def left(self, left_MK: Tensor) -> Tensor:
        """Return leftᵀ D, shape (K, N)."""
        total = torch.zeros(left_MK.shape[1], self.base_MN.shape[1], dtype=self.dtype, device=self.base_MN.device)
        for rows in self.rows():
            total.addmm_(left_MK[rows].T, self.difference(rows))
        return total

    def right(self, right_NK: Tensor) -> Tensor:
        """Return D right, shape (M, K)."""
        return torch.cat([self.difference(rows) @ right_NK for rows in self.rows()])

    @cached_property
    def energy(self) -> float:
        """‖D‖², the sum of squares in float64."""
        return math.fsum(float(self.difference(rows).double().square().sum()) for rows in self.rows())

    @cached_property
    def base_energy(self) -> float:
        """‖W_base‖²."""
        return math.fsum(float(self.base_MN[rows].double().square().sum()) for rows in self.rows())

    @cached_property
    def relative(self) -> float | None:
        """ρ = ‖D‖ / ‖W_base‖; None where the base is 0."""
        return math.sqrt(self.energy / self.base_energy) if self.base_energy else None
