"""Give the base's leading directions back and keep the tuned singular values, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class UnionKeepValues:
    """Take back what turns the base's leading directions, and leave what changes their values.

        E = P D + D Q − P D Q − U_k diag(U_kᵀ D V_k) V_kᵀ

    The diagonal of the core block is the change of singular values to first order; it stays in. It is what UV merging
    means to do, without its artefacts.

    Args:
        k: Directions: a share of min(M, N) in (0, 1], or a number.
    """

    k: float | int = 0.2

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return the union's part less the diagonal of the core block."""
        import torch

        from holdfast.heal.around import around

        left_MK, _, right_NK = update.leading(self.k)
        union = around(update, left_MK, right_NK)
        assert union.left_MK is not None
        assert union.right_NK is not None
        values_K = (left_MK * update.right(right_NK)).sum(0)
        return Edit(
            left_MK=torch.cat([union.left_MK, -left_MK * values_K], dim=1),
            right_NK=torch.cat([union.right_NK, right_NK], dim=1),
        )
