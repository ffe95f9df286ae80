"""Give the base's leading singular triplets back, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class Union:
    """Take back all of the update that touches the base's leading left or right singular directions.

        E = P D + D Q − P D Q ,      P = U_k U_kᵀ ,  Q = V_k V_kᵀ   of the base

    At strength 1 what is left is W_base + (I − P) D (I − Q), of which the base's first k singular triplets are singular
    triplets, exactly (they need not be its first). Unlike `UVMerge` it never leaves what lies between the two models
    for artefacts of splitting nearly equal singular values.

    Args:
        k: Directions: a share of min(M, N) in (0, 1], or a number.

    Reference: ours; it stands for the "low-rank UV merging" of Jin et al. 2025 (arXiv 2508.16546) in base coordinates.
    """

    k: float | int = 0.2

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return P D + D Q − P D Q."""
        from holdfast.heal.around import around

        left_MK, _, right_NK = update.leading(self.k)
        return around(update, left_MK, right_NK)
