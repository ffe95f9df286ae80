"""Random subspaces."""

from __future__ import annotations

import torch
from torch import Tensor


def haar(size: int, count: int, *, seed: int) -> Tensor:
    """Return ``count`` columns of a Haar-distributed orthogonal matrix, shape (size, count), float64, on the CPU.

    The triangle's diagonal is made positive, without which the QR of a Gaussian matrix is not uniform (Mezzadri 2007).
    """
    generator = torch.Generator().manual_seed(seed)
    made, triangle = torch.linalg.qr(torch.randn(size, count, generator=generator, dtype=torch.float64))
    turned: Tensor = made * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    return turned
