"""How the base's first or last directions turned, from the update in base coordinates: nothing is decomposed but a
window of 64 directions around the cut.

The tuned Gram matrix in base coordinates is  B = diag(s²) + E + G,  with E = C + Cᵀ of first and G = L Lᵀ of second
order (`holdfast.spectral.coordinates`). The subspace of the tuned matrix that belongs to the first (last) k directions
is spanned by the columns of [I; X], where X solves a Riccati equation (Stewart 1973)::

    X_ji (d_i − d_j) = B_ji + Σ_l B_jl X_li − Σ_l X_jl B_li − (X B₁₂ X)_ji         d = diag B ,  l ≠ i, j

Its first term alone is first-order perturbation theory: in terms of the core, (s_i M_ji + s_j M_ij) / (s_i² − s_j²).
Putting that X into the right side once more gives the second reading; what is reported is the second, and the
difference of the two says how far off it may be.

Across the cut singular values are often nearly equal, and there one pair alone makes first order useless. So `HALF`
directions on either side of the cut are diagonalized together, exactly: first from E alone, then from E + G with all
others folded in to second order (Löwdin 1951),  B_ab + Σ_o B_ao B_ob / (λ − d_o).  Pairs that remain are at least that
many indices apart; each angle is that of the 2 × 2 problem, ½ atan(2 B_ji / (d_i − d_j)), and so below 45° however
near the two are. Nothing blows up where all singular values are alike; the two readings then differ by much.

Shapes: ``R`` = min(M, N), ``K`` directions of the subspace, ``W`` of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.spectral.coordinates import Coordinates

HALF = 32
"""Directions on either side of the cut that are diagonalized together."""


class Turned(NamedTuple):
    """A subspace of the tuned matrix in base coordinates, as first and second order tell it.

    Attributes:
        first_RK, second_RK: Columns that span it, not orthonormal.
        left_over: Frobenius norm (radians, summed over K angles) that a further correction would be expected to have.
    """

    first_RK: Tensor
    second_RK: Tensor
    left_over: float


@dataclass(frozen=True)
class Ends:
    """The k first or last of R directions, the cut beside them, and the window around the cut.

    Attributes:
        own, rest: The directions, and all others.
        window: What is diagonalized.
        near: ``own`` and ``window`` together: the columns of L Lᵀ that are needed.
        away: ``rest`` and ``window`` together.
    """

    own: slice
    rest: slice
    window: slice
    near: slice
    away: slice

    @staticmethod
    def of(count: int, rank: int, *, last: bool = False) -> Ends:
        """Return the first ``count`` directions of ``rank``, or the last."""
        cut = rank - count if last else count
        window = slice(max(0, cut - HALF), min(rank, cut + HALF))
        if last:
            return Ends(slice(cut, rank), slice(0, cut), window, slice(window.start, rank), slice(0, window.stop))
        return Ends(slice(0, cut), slice(cut, rank), window, slice(0, window.stop), slice(window.start, rank))


class _Window(NamedTuple):
    """Rotation of the window's directions among themselves."""

    place: slice
    values_W: Tensor
    vectors_WW: Tensor

    def turned(self, rows_RX: Tensor) -> Tensor:
        """Return coefficients in window directions as coefficients in base directions."""
        out = rows_RX.clone()
        out[self.place] = self.vectors_WW.to(out.dtype) @ rows_RX[self.place]
        return out

    def seen(self, rows_RX: Tensor) -> Tensor:
        """Return the inverse of `turned`."""
        out = rows_RX.clone()
        out[self.place] = self.vectors_WW.T.to(out.dtype) @ rows_RX[self.place]
        return out

    def diagonal(self, diagonal_R: Tensor) -> Tensor:
        """Return a diagonal of the Gram matrix in window directions."""
        out = diagonal_R.clone()
        out[self.place] = self.values_W
        return out


def turned(found: Coordinates, ends: Ends) -> Turned:
    """Return how the smaller side's subspace of ``ends`` turned.

    Args:
        found: With the columns ``ends.near`` of L Lᵀ.
        ends: Of which directions.
    """
    coupled_RR, gram_RX = found.coupled, found.gram(ends.near)
    first_R = found.values_R.square() + coupled_RR.diagonal().double()
    second_R = first_R + found.rows_R

    plain = _window(coupled_RR[:, ends.near], first_R, ends, fold=False)
    seed = _bounded(_columns(coupled_RR[:, ends.near], plain, ends)[ends.rest], plain.diagonal(first_R), ends)
    first_RK = plain.turned(_stacked(seed, ends, own=1.0))

    whole_RX = coupled_RR[:, ends.near] + gram_RX
    window = _window(whole_RX, second_R, ends, fold=True)
    columns_RK = _columns(whole_RX, window, ends)
    within_KK, below = columns_RK[ends.own], columns_RK[ends.rest]
    seed = _bounded(below, window.diagonal(second_R), ends)
    carried = _carried(coupled_RR, seed, window, ends)
    right = below + carried - seed @ within_KK - seed @ (below.T @ seed)
    right[_shared(ends.window, ends.rest), _shared(ends.window, ends.own)] = 0  # folded in already
    second = _bounded(right, window.diagonal(second_R), ends)
    second_RK = window.turned(_stacked(second, ends, own=1.0))

    step, size = (float(torch.linalg.vector_norm(one.double())) for one in (second - seed, second_RK[ends.rest]))
    step += _apart(plain, window, ends)
    return Turned(first_RK, second_RK, left_over=step * step / size if size else 0.0)


def _window(coupled_RX: Tensor, diagonal_R: Tensor, ends: Ends, *, fold: bool) -> _Window:
    """Diagonalize the window, with all other directions folded in to second order if ``fold``."""
    inner = _within(ends.window, ends.near)
    small = coupled_RX[ends.window, inner].double()
    small = small - small.diagonal().diag() + diagonal_R[ends.window].diag()
    if fold:
        away_R = diagonal_R[ends.window].mean() - diagonal_R
        away_R[ends.window] = torch.inf
        others_RW = coupled_RX[:, inner].double()
        small = small + others_RW.T @ (others_RW / torch.where(away_R == 0, torch.inf, away_R)[:, None])
    values, vectors = torch.linalg.eigh((small + small.T) / 2)
    return _Window(ends.window, values.flip(0), vectors.flip(1))


def _apart(one: _Window, other: _Window, ends: Ends) -> float:
    """Return the norm of the sines between the subspaces that two windows find."""
    own = _shared(ends.own, ends.window)
    first, second = one.vectors_WW[:, own], other.vectors_WW[:, own]
    return float(torch.linalg.vector_norm(second - first @ (first.T @ second)))


def _columns(coupled_RX: Tensor, window: _Window, ends: Ends) -> Tensor:
    """Return the columns ``own`` in window directions, without the diagonal and the window's own block.

    Both are held by the gaps and by the window already.
    """
    inner = _within(ends.window, ends.near)
    columns_RX = coupled_RX.clone()
    columns_RX[ends.near].fill_diagonal_(0)
    columns_RX[ends.window, inner] = 0
    columns_RX[:, inner] = columns_RX[:, inner] @ window.vectors_WW.to(columns_RX.dtype)
    return window.seen(columns_RX[:, _within(ends.own, ends.near)])


def _carried(coupled_RR: Tensor, below: Tensor, window: _Window, ends: Ends) -> Tensor:
    """Return the block ``rest`` × ``rest`` in window directions, without its diagonal, times ``below``."""
    lifted_RK = window.turned(_stacked(below, ends, own=0.0))
    product_RK = coupled_RR.diagonal()[:, None] * -lifted_RK
    product_RK[ends.away] += coupled_RR[ends.away, ends.away] @ lifted_RK[ends.away]
    held_WW = coupled_RR[ends.window, ends.window]
    product_RK[ends.window] -= (held_WW - held_WW.diagonal().diag()) @ lifted_RK[ends.window]
    return window.seen(product_RK)[ends.rest]


def _bounded(right: Tensor, diagonal_R: Tensor, ends: Ends) -> Tensor:
    """Return tan(½ atan(2 right / gap)); a pair whose order is lost has 45°."""
    sign = 1.0 if ends.own.start == 0 else -1.0
    gap = sign * (diagonal_R[ends.own] - diagonal_R[ends.rest, None])
    steep = 2 * sign * right / gap.to(right.dtype).clamp_min(torch.finfo(right.dtype).tiny)
    return steep / (1 + (1 + steep.square()).sqrt())


def _stacked(below: Tensor, ends: Ends, *, own: float) -> Tensor:
    """Return [own · I; below] with its rows in the base's order."""
    count = below.shape[1]
    whole_RK = below.new_zeros(count + below.shape[0], count)
    whole_RK[ends.rest] = below
    whole_RK[ends.own].fill_diagonal_(own)
    return whole_RK


def _shared(window: slice, part: slice) -> slice:
    """Return where the window lies in ``part``, counted from its start."""
    return slice(max(0, window.start - part.start), max(0, min(window.stop, part.stop) - part.start))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
