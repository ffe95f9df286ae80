"""The singular values of an update itself: how few directions carry it, and how many of them rise out of noise.

::

    stable rank     ‖D‖² / ‖D‖₂²
    effective rank  exp(H(p)) ,  p_i = s_i² / Σ s²                   (Roy and Vetterli 2007)
    signal rank     singular values above the edge ω(β) σ √max(M, N)  (`holdfast.spectral.noise`)

Two roads. `exact_spectrum` has all singular values, from the Gram matrix of D; its σ is that of their median.
`leading_spectrum` has the first 48 of a randomized range finder (Halko, Martinsson and Tropp 2011) with 16 spare
columns and two power steps, and takes σ from what the first r leave over. It begins with all that are known, since a
noise that still holds signal would hide it, and goes on until r settles::

    σ² = (‖D‖² − Σ_{i <= r} s_i²) / ((M − r)(N − r)) ,      r = number of s_i > ω(β) σ √max(M, N)

Randomized values are trusted only where they stand out of the bulk, which is all that is read of them: ‖D‖₂ and those
above the edge. Within a flat bulk they are too low, and the effective rank needs all of it: it is None there. Where all
that were asked for lie above the edge, four times as many are; beyond a quarter of R, all.

Shapes: ``M`` × ``N`` of D, ``R`` = min(M, N), ``Q`` columns of the range finder.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.report.spectral_readings import OwnSpectrum
from holdfast.spectral.noise import edge, omega, signal_rank
from holdfast.spectral.update import Update

__all__ = ["Leading", "exact_spectrum", "leading", "leading_spectrum"]

EXACT_UP_TO = 512
"""Smaller side up to which a decomposition costs so little that nothing is estimated."""
FIRST = 48
SPARE = 16
POWER_STEPS = 2
KEPT_VALUES = 16_000_000
"""An update of up to this many values is kept while it is multiplied; a larger one is made anew, slice by slice."""


class Leading(NamedTuple):
    """Leading singular triplets of an update, as a randomized range finder has them."""

    left_MK: Tensor
    values_K: Tensor
    right_NK: Tensor


def exact_spectrum(update: Update) -> OwnSpectrum | None:
    """Return the spectrum of an update from all of its singular values; None where nothing moved."""
    values_R = update.own.values_R.cpu().numpy()
    if not values_R.any():
        return None
    share_R = values_R**2 / (values_R**2).sum()
    share_R = share_R[share_R > 0]
    rows, columns = update.base_MN.shape
    return OwnSpectrum(
        norm=float(values_R[0]),
        relative=_relative(values_R[0], update),
        stable_rank=float((values_R**2).sum() / values_R[0] ** 2),
        effective_rank=float(np.exp(-(share_R * np.log(share_R)).sum())),
        edge=edge(values_R, rows, columns),
        signal_rank=signal_rank(values_R, rows, columns),
        known=len(values_R),
        exact=True,
    )


def leading_spectrum(update: Update, *, energy: float | None = None) -> OwnSpectrum | None:
    """Return the spectrum of an update from its leading singular values; None where nothing moved.

    Args:
        update: Of one matrix.
        energy: ‖D‖² if it is known already.
    """
    energy = update.energy if energy is None else energy
    if not energy:
        return None
    rows, columns = update.base_MN.shape
    count = FIRST
    while True:
        if 4 * count > update.rank:
            return exact_spectrum(update)
        values_K = leading(update, count).values_K.cpu().numpy()
        threshold = _settled_edge(values_K, energy, rows, columns)
        above = int((values_K > threshold).sum())
        if above < count:
            break
        count *= 4
    return OwnSpectrum(
        norm=float(values_K[0]),
        relative=_relative(values_K[0], update),
        stable_rank=energy / float(values_K[0]) ** 2,
        effective_rank=None,
        edge=threshold,
        signal_rank=above,
        known=count,
        exact=False,
    )


def leading(update: Update, count: int, *, seed: int = 0) -> Leading:
    """Return the first ``count`` singular triplets of an update by a randomized range finder.

    Args:
        update: Of one matrix.
        count: At most R.
        seed: Of the random start; the result above the noise hardly depends on it.
    """
    rows, columns = update.base_MN.shape
    device, dtype = update.base_MN.device, update.dtype
    kept = update.whole() if rows * columns <= KEPT_VALUES else None

    def down(left_MQ: Tensor) -> Tensor:
        return kept.T @ left_MQ if kept is not None else update.left(left_MQ).T

    def across(right_NQ: Tensor) -> Tensor:
        return kept @ right_NQ if kept is not None else update.right(right_NQ)

    wide = min(count + SPARE, rows, columns)
    generator = torch.Generator().manual_seed(seed)
    start_NQ = torch.randn(columns, wide, generator=generator).to(device, dtype)
    range_MQ = torch.linalg.qr(across(start_NQ)).Q
    for _ in range(POWER_STEPS):
        range_MQ = torch.linalg.qr(across(torch.linalg.qr(down(range_MQ)).Q)).Q
    rest_NQ = down(range_MQ).double()
    squares, turn_QQ = torch.linalg.eigh(rest_NQ.T @ rest_NQ)
    values_K = squares.flip(0)[:count].clamp_min(0).sqrt()
    turn_QK = turn_QQ.flip(1)[:, :count]
    scale_K = values_K.clamp_min(torch.finfo(torch.float64).tiny)
    return Leading(range_MQ @ turn_QK.to(dtype), values_K, (rest_NQ @ turn_QK / scale_K).to(dtype))


def _settled_edge(values_K: np.ndarray, energy: float, rows: int, columns: int) -> float:
    """Return the edge that the residual's noise and the number of values above it agree on."""
    reach = omega(min(rows, columns) / max(rows, columns)) * math.sqrt(max(rows, columns))
    above = len(values_K)
    while True:
        left_over = max(0.0, energy - float((values_K[:above] ** 2).sum()))
        threshold = reach * math.sqrt(left_over / ((rows - above) * (columns - above)))
        settled = int((values_K > threshold).sum())
        if settled >= above:
            return threshold
        above = settled


def _relative(norm: float, update: Update) -> float | None:
    largest = float(update.base.values_R[0])
    return float(norm) / largest if largest else None
