"""Give leading and trailing singular directions of the base back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class HeadTail:
    """The `Union` of the base's first and last singular directions together, or of the last alone.

    The paper finds the drift at both ends of the spectrum; `holdfast diagnose` shows by band whether that is so.

    Args:
        head: First directions: a share of min(M, N) in (0, 1], a number, or 0 for none.
        tail: Last directions, likewise.
    """

    head: float | int = 0.1
    tail: float | int = 0.1

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("head", self.head, zero=True)
        check_share("tail", self.tail, zero=True)
        if not self.head and not self.tail:
            raise ValueError("head and tail are both 0: nothing would be given back")

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return P D + D Q − P D Q with the projectors on both ends."""
        import torch

        from holdfast.heal.around import around

        ends = [update.leading(self.head)] if self.head else []
        if self.tail:
            ends.append(update.trailing(self.tail))
        left_MK = torch.cat([end.left_MK for end in ends], dim=1)
        right_NK = torch.cat([end.right_NK for end in ends], dim=1)
        if left_MK.shape[1] >= update.rank:  # the two ends meet
            whole = update.base_basis(slice(None))
            left_MK, right_NK = whole.left_MK, whole.right_NK
        return around(update, left_MK, right_NK)
