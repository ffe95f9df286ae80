"""The singular system of a matrix from the Gram matrix of its smaller side.

For W = U diag(S) Vᵀ with R = min(M, N)::

    G = W Wᵀ (or Wᵀ W if that is smaller)    in float64
    G = Q diag(S²) Qᵀ                         one symmetric eigenproblem of size R

Q is kept; the vectors of the larger side are one product away (``Wᵀ Q / S``) and are made when they are asked for, so
that a cache holds R² numbers a matrix. In float64 a Gram matrix loses nothing of weights that are stored in 32 bits or
fewer down to singular values of 1e-7 of the largest. Matrices whose smaller side is `EXACT_BELOW` or less, and those
stored in float64, get an SVD in float64 instead.

Shapes: ``M`` rows, ``N`` columns, ``R`` = min(M, N), ``K`` chosen directions; leading dimensions are a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

EXACT_BELOW = 96
"""Smaller side up to which an SVD in float64 costs as little as the Gram matrix."""
BLOCK_VALUES = 2_000_000
"""Values of a weight that are turned into float64 at a time."""
ILL = 1e-3
"""Singular values below this share of the largest are not divided by: that would amplify rounding."""


class Basis(NamedTuple):
    """Chosen singular triplets: ``left_MK``, ``values_K`` (descending within each run), ``right_NK``; same dtype."""

    left_MK: Tensor
    values_K: Tensor
    right_NK: Tensor


@dataclass(frozen=True)
class Factors:
    """Singular values, and the singular vectors of the smaller side.

    Attributes:
        vectors_RR: Columns by descending singular value; of the left side if ``rows_are_smaller``.
        values_R: float64, descending.
        rows_are_smaller: Whether M <= N.
    """

    vectors_RR: Tensor
    values_R: Tensor
    rows_are_smaller: bool

    @property
    def rank(self) -> int:
        """R = min(M, N)."""
        return int(self.values_R.shape[-1])

    def basis(self, weight_MN: Tensor, columns: slice, *, dtype: torch.dtype = torch.float64) -> Basis:
        """Return the triplets of ``columns``, those of the larger side made from the weight.

        Args:
            weight_MN: The matrix that was factorized, in any dtype.
            columns: Of the descending order.
            dtype: Of the result, in which the product runs.
        """
        small = self.vectors_RR[..., columns].to(weight_MN.device, dtype)
        values = self.values_R[..., columns].to(weight_MN.device)
        flipped = weight_MN if not self.rows_are_smaller else weight_MN.mT
        large = _product(flipped, small, dtype)
        large = _orthonormal(large) if _ill(values, self.values_R) else large / values.to(dtype)[..., None, :]
        left, right = (small, large) if self.rows_are_smaller else (large, small)
        return Basis(left, values.to(dtype), right)


def factorize(weight_MN: Tensor) -> Factors:
    """Return the singular system of a matrix, or of a batch of them, in float64.

    Args:
        weight_MN: Finite, any floating dtype; on its device.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    rows, columns = weight_MN.shape[-2:]
    wide = rows <= columns
    if min(rows, columns) <= EXACT_BELOW or weight_MN.dtype == torch.float64:
        exact = weight_MN.double()
        if not bool(torch.isfinite(exact).all()):
            raise ValueError("the matrix holds NaN or infinity")
        left, values, right_t = torch.linalg.svd(exact, full_matrices=False)
        return Factors(left if wide else right_t.mT.contiguous(), values, wide)
    gram = gram_of(weight_MN)
    if not bool(torch.isfinite(gram).all()):
        raise ValueError("the matrix holds NaN or infinity")
    squares, vectors = torch.linalg.eigh(gram)
    return Factors(vectors.flip(-1).contiguous(), squares.flip(-1).clamp_min(0).sqrt(), wide)


def gram_of(weight_MN: Tensor) -> Tensor:
    """Return W Wᵀ in float64, or Wᵀ W if N < M, from slices along the larger side, so that no float64 copy is made."""
    rows, columns = weight_MN.shape[-2:]
    small = min(rows, columns)
    gram = torch.zeros(*weight_MN.shape[:-2], small, small, dtype=torch.float64, device=weight_MN.device)
    step = max(1, BLOCK_VALUES // max(1, small))
    for at in range(0, max(rows, columns), step):
        part = weight_MN[..., :, at : at + step] if rows <= columns else weight_MN[..., at : at + step, :].mT
        exact = part.double()
        gram += exact @ exact.mT
    return gram


def _product(weight_XY: Tensor, vectors_YK: Tensor, dtype: torch.dtype) -> Tensor:
    """Return W · vectors in ``dtype``, W turned into it slice by slice."""
    step = max(1, BLOCK_VALUES // max(1, weight_XY.shape[-1]))
    parts = [weight_XY[..., at : at + step, :].to(dtype) @ vectors_YK for at in range(0, weight_XY.shape[-2], step)]
    return torch.cat(parts, dim=-2)


def _ill(values_K: Tensor, values_R: Tensor) -> bool:
    """Whether dividing by some of the values would amplify rounding."""
    return bool((values_K.amin(-1) <= ILL * values_R.amax(-1)).any())


def _orthonormal(columns_NK: Tensor) -> Tensor:
    """Return orthonormal columns that span the given ones in their order, each pointing as the given one does."""
    made, triangle = torch.linalg.qr(columns_NK)
    signs = torch.where(torch.diagonal(triangle, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(made.dtype)
    turned: Tensor = made * signs[..., None, :]
    return turned
