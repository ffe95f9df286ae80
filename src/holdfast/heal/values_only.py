"""Give the base's singular values back, on the tuned directions: the published null result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import check_share, count_of

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class ValuesOnly:
    """Keep the tuned singular directions and give their leading values back to the base.

        E = Σ_{i <= k} (s'_i − s_i) u'_i v'_iᵀ      (primed: of the tuned matrix)

    Of any small update this takes back almost nothing: singular values carry about 1 / max(M, N) of its energy, so that
    "values do not matter" holds whatever the update does (docs/heal.md). The undone fraction beside it says so.

    Args:
        k: Leading values: a share of min(M, N) in (0, 1], or a number.

    Reference: Jin et al. 2025, https://arxiv.org/abs/2508.16546 (their "singular values only").
    """

    k: float | int = 1.0

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        check_share("k", self.k)

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return the difference of values on the tuned directions."""
        run = slice(0, count_of(self.k, update.rank))
        tuned = update.tuned_basis(run)
        base_K = update.base.values_R[run].to(update.base_MN.device, update.dtype)
        return Edit(left_MK=tuned.left_MK * (tuned.values_K - base_K), right_NK=tuned.right_NK)
