"""Scale the update by depth: less of it in the shallow blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class LiNeS:
    """Keep a share of the update that grows linearly with depth.

        W_healed = W_base + λ_l D ,      λ_l = alpha + beta · l / (L − 1) ,  l = 0 … L − 1

    Embeddings count as the first block; the final norm, the head and whatever else stands outside of the decoder's
    blocks as the last.

    Args:
        alpha: Share kept in the first block, in [0, 1].
        beta: What the last block keeps more; alpha + beta in [0, 1]. The authors' choice for one task is 1 − alpha.

    Reference: Wang et al. 2024, https://arxiv.org/abs/2410.17146.
    """

    alpha: float = 0.5
    beta: float = 0.5

    scope: ClassVar[Scope] = "everything"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 <= self.alpha + self.beta <= 1:
            raise ValueError(f"alpha and alpha + beta must lie in [0, 1], got {self.alpha!r} and {self.beta!r}")

    def share_at(self, place: Place) -> float:
        """Return 1 − λ."""
        if place.layer is None:
            depth = 0.0 if place.role == "embedding" else 1.0
        else:
            depth = place.layer / max(1, place.layers - 1)
        return 1.0 - (self.alpha + self.beta * depth)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (a share of it)
        """Return 1 − λ of the update."""
        return Edit(share=self.share_at(place))
