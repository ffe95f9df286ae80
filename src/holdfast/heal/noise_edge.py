"""Keep what of an update rises out of noise, and take the rest back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.noise import edge

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class NoiseEdge:
    """Keep the singular components of the update above its noise edge; take the bulk below back.

        W_healed = W_base + Σ_{σ_i > scale · τ} σ_i x_i y_iᵀ      (triplets of D; τ of `holdfast.spectral.noise`)

    Args:
        scale: Factor on τ; 1 is the optimal threshold for a flat bulk.
        keep: ``signal``, or ``bulk`` for the complement: only what lies below is kept.

    Reference: DG-Hard, arXiv 2605.20296; theirs rounds the kept update before it is added, ours once at the end.
    """

    scale: float = 1.0
    keep: str = "signal"

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, got {self.scale!r}")
        if self.keep not in ("signal", "bulk"):
            raise ValueError(f"keep must be signal or bulk, got {self.keep!r}")

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return the components below the edge, or those above it."""
        factors = update.own
        values = factors.values_R.cpu().numpy()
        threshold = self.scale * edge(values, *update.base_MN.shape)
        above = int((values > threshold).sum())
        if not above:
            return Edit() if self.keep == "bulk" else Edit(share=1.0)
        signal = update.own_basis(slice(0, above))
        scaled_MK = signal.left_MK * signal.values_K
        if self.keep == "bulk":
            return Edit(left_MK=scaled_MK, right_NK=signal.right_NK)
        return Edit(share=1.0, left_MK=-scaled_MK, right_NK=signal.right_NK)
