"""Give random directions back: the control for every healer that chooses its directions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.heal.base import Edit, Place, Scope
from holdfast.heal.shares import around, check_share
from holdfast.spectral.factors import count_of
from holdfast.spectral.update import Update


@dataclass(frozen=True)
class RandomSubspace:
    """The `Union` of as many random directions: what giving back k directions does, whichever they are.

    Both bases are Haar-distributed, drawn from the seed and the tensor's name, so that a run is repeatable.

    Args:
        k: Directions: a share of min(M, N) in (0, 1], or a number.
        seed: Of the draw.
    """

    k: float | int = 0.2
    seed: int = 0

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:
        """Return P D + D Q − P D Q with random projectors."""
        digest = hashlib.blake2b(f"{self.seed} {place.name}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        count = count_of(self.k, update.rank)
        left, right = (_haar(size, count, generator).to(update.base_MN.device, update.dtype) for size in update.base_MN.shape)
        return around(update, left, right)


def _haar(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Return orthonormal columns of a Haar-distributed orthogonal matrix, float64 (Mezzadri 2007: signs made positive)."""
    made, triangle = torch.linalg.qr(torch.randn(size, count, generator=generator, dtype=torch.float64))
    return made * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
