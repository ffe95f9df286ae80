"""Where an update's singular values rise out of noise: the optimal hard threshold of Gavish and Donoho.

For an M × N matrix of noise with standard deviation σ plus a signal of low rank, singular values above::

    τ = ω(β) · median(S) / μ(β) ,      β = min(M, N) / max(M, N)

are kept, with ω(β) = sqrt(2 (β + 1) + 8 β / ((β + 1) + sqrt(β² + 14 β + 1))) in units of σ · sqrt(max(M, N)), and μ(β)
the square root of the median of the Marchenko–Pastur law, by which the median of S tells σ.

Reference: Gavish and Donoho 2014, https://arxiv.org/abs/1305.5870; used on updates of fine-tuning by DG-Hard, arXiv
2605.20296.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np


def omega(beta: float) -> float:
    """Return the optimal threshold in units of σ·sqrt(max(M, N)); 4/√3 for square matrices.

    Example:
        >>> round(omega(1.0), 6) == round(4 / 3**0.5, 6)
        True
    """
    return math.sqrt(2 * (beta + 1) + 8 * beta / ((beta + 1) + math.sqrt(beta * beta + 14 * beta + 1)))


@cache
def marchenko_pastur_median(beta: float) -> float:
    """Return the median of the Marchenko–Pastur law with ratio ``beta`` in (0, 1], to about 1e-7.

    Its density on [(1 − √β)², (1 + √β)²] is sqrt((b − x)(x − a)) / (2 π β x); with x on a half circle between the
    ends, the trapezoidal rule converges fast.
    """
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    angle = np.linspace(0.0, math.pi, 200_001)
    x = low + (high - low) * (1 - np.cos(angle)) / 2
    half = (high - low) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        density = (half * np.sin(angle)) ** 2 / (2 * math.pi * beta * x)
    density[0] = density[0] if low > 0 else half / (math.pi * beta)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(angle))])
    return float(np.interp(0.5 * mass[-1], mass, x))


def edge(values: np.ndarray, rows: int, columns: int) -> float:
    """Return τ for the singular values (all min(M, N) of them) of a matrix; 0 for a matrix of zeros."""
    beta = min(rows, columns) / max(rows, columns)
    return omega(beta) * float(np.median(values)) / math.sqrt(marchenko_pastur_median(beta))


def signal_rank(values: np.ndarray, rows: int, columns: int) -> int:
    """Return how many singular values lie above `edge`."""
    return int((np.asarray(values) > edge(values, rows, columns)).sum())
