"""How the singular values moved.

Both spectra are sorted, and compared index by index (never pair by pair of vectors)::

    normalized  ‖s_t − s_b‖ / ‖s_b‖        (NSS, arXiv 2511.08567)
    mean        Σ (s_t − s_b) / Σ s_b       absolute  Σ |s_t − s_b| / Σ s_b

By Weyl's inequality ``normalized`` is at most ‖D‖ / ‖W_base‖. A random update moves values by about ‖D‖ / √max(M, N):
singular values hardly move under *any* small update, so a small shift is no sign of a special training method.

Two roads. `exact_shift` takes the values of the tuned matrix. `second_order_shift` takes the tuned Gram matrix in base
coordinates, B = diag(s²) + E + L Lᵀ (`holdfast.spectral.turning`): its diagonal, and the repulsion that each pair of
neighbors exerts, in the form of the 2 × 2 problem, which stays finite where they are equal::

    λ_i = B_ii + Σ_j sign(i, j) E_ij² / (g/2 + √(g²/4 + E_ij²)) ,     g = |B_ii − B_jj| ,     s_t = √λ

The first order alone, s_i + u_iᵀ D v_i, is off by up to a sixth of the shift. The error that is told is the difference
of the two readings, and the square of their distance over the shift: what a third order of the same ratio would add.

Shapes: ``R`` = min(M, N).
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.report.spectral_readings import ValueShift
from holdfast.spectral.coordinates import Coordinates
from holdfast.spectral.update import Update

__all__ = ["exact_shift", "second_order_shift"]


def exact_shift(update: Update) -> ValueShift | None:
    """Return how singular values moved, from those of the tuned matrix; None where the base is 0."""
    base_R, tuned_R = update.base.values_R, update.tuned.values_R
    return _shift(base_R, tuned_R.to(base_R.device))


def second_order_shift(found: Coordinates) -> ValueShift | None:
    """Return how singular values moved, to second order in the update, with an error; None where the base is 0."""
    base_R = found.values_R
    first_R, second_R = base_R + found.core.diagonal().double(), _sorted_roots(found)
    first, second, apart = _shift(base_R, first_R), _shift(base_R, second_R), _shift(first_R, second_R)
    if first is None or second is None or apart is None:
        return None
    return ValueShift(
        second.normalized,
        second.mean,
        second.absolute,
        normalized_error=_error(first.normalized, second.normalized, apart.normalized),
        absolute_error=_error(first.absolute, second.absolute, apart.absolute),
    )


def _error(first: float, second: float, apart: float) -> float:
    """Return how much the second order changed the reading, and what a third of the same ratio would add."""
    return abs(second - first) + (apart**2 / second if second else 0.0)


def _sorted_roots(found: Coordinates) -> Tensor:
    coupled_RR = found.coupled
    diagonal_R = found.values_R.square() + coupled_RR.diagonal().double() + found.rows_R
    gap_RR = (diagonal_R[:, None] - diagonal_R).to(coupled_RR.dtype)
    apart_RR = torch.hypot(gap_RR / 2, coupled_RR).add_(gap_RR.abs() / 2)
    push_RR = coupled_RR.square() / apart_RR.clamp_min(torch.finfo(coupled_RR.dtype).tiny)
    push_RR = torch.copysign(push_RR, gap_RR).fill_diagonal_(0)
    moved_R = diagonal_R + push_RR.sum(1, dtype=torch.float64)
    return moved_R.clamp_min(0).sqrt().sort(descending=True).values


def _shift(base_R: Tensor, tuned_R: Tensor) -> ValueShift | None:
    total = float(base_R.sum())
    if not total:
        return None
    change_R = tuned_R - base_R
    return ValueShift(
        normalized=float(change_R.norm() / base_R.norm()),
        mean=float(change_R.sum()) / total,
        absolute=float(change_R.abs().sum()) / total,
    )
