"""Which part of the base's spectrum an update turned and loaded: ten runs of singular indices, beside a random update.

For the indices of a band, with U_b, V_b the base's singular vectors there and |b| their number::

    left, right   Σ sin² of the angles between the band's subspace and the tuned matrix's, over |b| (1 − |b|/n)
    diagonal      Σ_{i in b} (u_iᵀ D v_i)² / ‖D‖²          chance |b| / (MN)
    rows          ‖U_bᵀ D‖² / ‖D‖²                          chance |b| / M
    columns       ‖D V_b‖² / ‖D‖²                           chance |b| / N

Bands in the middle of a spectrum turn most under any update, since their singular values are nearest to their
neighbors'; that head and tail moved less than the bulk, or more, only means something beside ``null``: an update of the
same norm with independent Gaussian entries, measured in the same way.

On the first-order road a band's Σ sin² is the sum of the bounded 2 × 2 angles (`holdfast.spectral.turning`) with all
directions outside of it, and on the larger side what leaves the span of the base's vectors counts in full.

Shapes: ``R`` = min(M, N), ``N`` the larger side here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from holdfast.report.spectral_readings import Band, Bands
from holdfast.spectral.coordinates import Coordinates, in_base
from holdfast.spectral.update import Update

__all__ = ["bands"]

COUNT = 10


def bands(update: Update, found: Coordinates, *, exact: bool, seed: int = 0) -> Bands:
    """Return ten bands of an update and of a random one.

    Args:
        update: Of one matrix.
        found: The same in base coordinates.
        exact: From the singular system of the tuned matrix, or from first order.
        seed: Of the random update.
    """
    places = _places(found.rank)
    generator = torch.Generator().manual_seed(seed)
    noise_MN = torch.randn(update.base_MN.shape, generator=generator, dtype=torch.float32)
    noise_MN *= (found.energy**0.5) / float(torch.linalg.vector_norm(noise_MN))
    base_MN = update.base_MN.to(update.dtype)
    random = Update(base_MN, base_MN + noise_MN.to(base_MN.device, base_MN.dtype), factors=lambda: update.base)
    in_random = in_base(random, dtype=found.mixed_RR.dtype)
    return Bands(
        measured=_measure(update, found, places, exact=exact),
        null=_measure(random, in_random, places, exact=exact),
    )


def _places(rank: int) -> list[tuple[int, int]]:
    edges = [round(number * rank / COUNT) for number in range(COUNT + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def _measure(update: Update, found: Coordinates, places: Sequence[tuple[int, int]], *, exact: bool) -> tuple[Band, ...]:
    small_R, large_R = _exact_sines(update, places) if exact else _pair_sines(found, places)
    squares_RR = found.core.double().square()
    total = found.energy or 1.0
    along_R = (found.rows_R / total, squares_RR.sum(0) / total)
    rows_R, columns_R = along_R if found.rows_are_smaller else along_R[::-1]
    left, right = (small_R, large_R) if found.rows_are_smaller else (large_R, small_R)
    told = []
    for number, (start, stop) in enumerate(places):
        count = stop - start
        told.append(
            Band(
                first=start,
                last=stop - 1,
                left=_of_chance(left[number], count, found.rows),
                right=_of_chance(right[number], count, found.columns),
                diagonal=float(squares_RR.diagonal()[start:stop].sum()) / total,
                rows=float(rows_R[start:stop].sum()),
                columns=float(columns_R[start:stop].sum()),
                chance_diagonal=count / (found.rows * found.columns),
                chance_rows=count / found.rows,
                chance_columns=count / found.columns,
            )
        )
    return tuple(told)


def _exact_sines(update: Update, places: Sequence[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """Return Σ sin² by band for the smaller and the larger side, from both singular systems."""
    everything = slice(0, update.rank)
    base, tuned = update.base.basis(update.base_MN, everything), update.tuned.basis(update.tuned_MN, everything)
    left = _between(base.left_MK, tuned.left_MK, places)
    right = _between(base.right_NK, tuned.right_NK, places)
    return (left, right) if update.base.rows_are_smaller else (right, left)


def _between(base_NR: Tensor, tuned_NR: Tensor, places: Sequence[tuple[int, int]]) -> list[float]:
    cosines_RR = base_NR.T @ tuned_NR
    beyond_R = (tuned_NR - base_NR @ cosines_RR).square().sum(0)
    return [
        float(cosines_RR[:start, start:stop].square().sum() + cosines_RR[stop:, start:stop].square().sum())
        + float(beyond_R[start:stop].sum())
        for start, stop in places
    ]


def _pair_sines(found: Coordinates, places: Sequence[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """Return Σ sin² by band for both sides, from the 2 × 2 problem of each pair of directions."""
    core_RR, values_R = found.core.double(), found.values_R
    gap_RR = values_R.square()[:, None] - values_R.square()
    mixed_RR = found.mixed_RR.double()
    small_RR = _sines(mixed_RR + mixed_RR.T, gap_RR)
    scaled_RR = values_R[:, None] * core_RR
    large_RR = _sines(scaled_RR + scaled_RR.T, gap_RR)
    beyond_R = (found.rows_R - core_RR.square().sum(1)).clamp_min(0)
    if found.larger == found.rank:
        beyond_R = torch.zeros_like(beyond_R)
    beyond_R = beyond_R / (beyond_R + values_R.square()).clamp_min(torch.finfo(torch.float64).tiny)
    small = [float(small_RR[start:stop].sum() - small_RR[start:stop, start:stop].sum()) for start, stop in places]
    large = [
        float(large_RR[start:stop].sum() - large_RR[start:stop, start:stop].sum() + beyond_R[start:stop].sum())
        for start, stop in places
    ]
    return small, large


def _sines(coupled_RR: Tensor, gap_RR: Tensor) -> Tensor:
    """Return sin² of ½ atan(2 coupled / |gap|) of each pair."""
    steep_RR = 2 * coupled_RR.abs() / gap_RR.abs().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.sin(torch.atan(steep_RR) / 2).square().fill_diagonal_(0)


def _of_chance(sines: float, count: int, size: int) -> float | None:
    return None if count == size else sines / (count * (1 - count / size))
