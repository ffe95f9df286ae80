"""Base matrices with the spectra that language models have, and updates of them, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from holdfast.spectral.haar import haar
from holdfast.spectral.update import Update


def base(rows: int, columns: int, *, seed: int = 0, kind: str = "power") -> Tensor:
    """A matrix with a slowly falling, a random, or a steep spectrum."""
    rank = min(rows, columns)
    if kind == "gauss":
        return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    index = torch.arange(rank, dtype=torch.float64)
    values = (1 + index / 10) ** -0.4 if kind == "power" else torch.exp(-4 * index / rank)
    return (haar(rows, rank, seed=seed) * values) @ haar(columns, rank, seed=seed + 1).T


def change(of: Tensor, relative: float, *, spikes: int = 0, seed: int = 9) -> Tensor:
    """Gaussian noise with ``spikes`` singular values above it, of norm ``relative`` times that of ``of``."""
    rows, columns = of.shape
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    made = noise / math.sqrt(rows * columns)
    if spikes:
        left, right = haar(rows, spikes, seed=seed + 1), haar(columns, spikes, seed=seed + 2)
        sizes = torch.linspace(1.0, 0.5, spikes, dtype=torch.float64)
        made = 0.6 * made + 0.8 * (left * sizes / sizes.norm()) @ right.T
    return made / made.norm() * relative * of.norm()


def update(of: Tensor, by: Tensor, *, dtype: torch.dtype = torch.float64) -> Update:
    """The update of two matrices in ``dtype``."""
    return Update(of.to(dtype), (of + by).to(dtype))
