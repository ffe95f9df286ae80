"""Interpolation between base and tuned weights (WiSE-FT): the baseline of every other healer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class Interpolate:
    """Take back a share of the whole update, alike everywhere.

        W_healed = W_tuned − a · D = (1 − a) · W_tuned + a · W_base

    At strength 1 it is the base, bit for bit; the undone fraction is the strength.

    Reference: Wortsman et al. 2022, https://arxiv.org/abs/2109.01903 (WiSE-FT; their α is 1 − a). With the checkpoint
    of an early step in the base's place: https://arxiv.org/abs/2504.10478.
    """

    scope: ClassVar[Scope] = "everything"

    def share_at(self, place: Place) -> float:  # noqa: ARG002  (alike everywhere)
        """Return 1."""
        return 1.0

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (a share of it)
        """Return the whole of D."""
        return Edit(share=self.share_at(place))
