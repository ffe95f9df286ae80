"""Give random directions back: the control for every healer that chooses its directions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share, count_of

if TYPE_CHECKING:
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
        if not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")

    def edit(self, update: Update, place: Place) -> Edit:
        """Return P D + D Q − P D Q with random projectors."""
        from holdfast.heal.around import around
        from holdfast.spectral.haar import haar

        digest = hashlib.blake2b(f"{self.seed} {place.name}".encode(), digest_size=8).digest()
        sizes, count = update.base_MN.shape, count_of(self.k, update.rank)
        left, right = (
            haar(size, count, seed=(int.from_bytes(digest, "big") >> 1) ^ side).to(update.base_MN.device, update.dtype)
            for side, size in enumerate(sizes)
        )
        return around(update, left, right)
