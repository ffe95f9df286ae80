"""Scale intruder dimensions of the tuned matrix down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.heal.base import Edit, Place, Scope
from holdfast.spectral.counts import LEAST_LIKENESS, TOP

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class Intruders:
    """Scale leading singular components that are like none of the base's.

        E = (1 − scale) · Σ_{i intruder} s'_i u'_i v'_iᵀ      (of the tuned matrix)

    Args:
        top: Leading components that are looked at.
        epsilon: A component is an intruder if its vector's largest cosine with any of the base's is below this.
        scale: What is left of an intruder at strength 1, in [0, 1).

    Reference: Shuttleworth et al. 2024, https://arxiv.org/abs/2410.21228; defaults of PEFT. Theirs compares left
    vectors; ours those of the smaller side (of a square matrix the left ones), and of any fine-tune, not of LoRA alone.
    """

    top: int = TOP
    epsilon: float = LEAST_LIKENESS
    scale: float = 0.75

    scope: ClassVar[Scope] = "matrices"

    def __post_init__(self) -> None:
        if not isinstance(self.top, int) or self.top < 1 or not 0 < self.epsilon <= 1 or not 0 <= self.scale < 1:
            raise ValueError(
                "top must be a whole number of at least 1, epsilon in (0, 1] and scale in [0, 1), "
                f"got {self.top!r}, {self.epsilon!r} and {self.scale!r}"
            )

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (alike everywhere)
        """Return the part of the intruders that is scaled away; nothing where there are none."""
        from holdfast.spectral.intruders import intruders

        found = intruders(update, top=self.top, epsilon=self.epsilon)
        if not len(found):
            return Edit()
        leading = update.tuned_basis(slice(0, self.top))
        left_MK = leading.left_MK[:, found] * leading.values_K[found] * (1 - self.scale)
        return Edit(left_MK=left_MK, right_NK=leading.right_NK[:, found])
