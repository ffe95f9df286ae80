"""Give the core block back: what the update did inside the base's leading directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class Core:
    """Take back the block of the update between the base's leading left and right singular directions.

        E = P D Q ,      P = U_k U_kᵀ ,  Q = V_k V_kᵀ   of the base

    The leading subspaces may still have rotated out of themselves (P D (I − Q) and (I − P) D Q stay); `Union` takes
    those back too. It is the block that RPSFT penalizes while training (arXiv 2605.10973).

    Args:
        k: Directions: a share of min(M, N) in (0, 1], or a number. 1.0 of a square matrix is all of D.
    """

    k: float | int = 0.2

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return P D Q."""
        left_MK, _, right_NK = update.leading(self.k)
        return Edit(left_MK=left_MK @ (update.left(left_MK) @ right_NK), right_NK=right_NK)
