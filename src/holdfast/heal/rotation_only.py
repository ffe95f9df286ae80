"""Take back rotations within the base's leading directions, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class RotationOnly:
    """Take back the off-diagonal part of the core block: leading directions that turned into one another.

        E = U_k (C − diag C) V_kᵀ ,      C = U_kᵀ D V_k

    Args:
        k: Directions: a share of min(M, N) in (0, 1], or a number.
    """

    k: float | int = 0.2

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return U (C − diag C) Vᵀ."""
        left_MK, _, right_NK = update.leading(self.k)
        core_KK = update.left(left_MK) @ right_NK
        return Edit(left_MK=left_MK @ (core_KK - core_KK.diagonal().diag()), right_NK=right_NK)
