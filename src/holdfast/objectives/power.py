"""Powers of the target's probability: the family from likelihood to probability, and its opposite, focal weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Power(Objective):
    """Scale each token's cross-entropy by a power of its probability.

        loss_n = -sg(max(p_n^alpha, floor) · (1 - p_n)^gamma) · log p_n ,   p_n = softmax(logits_n)[target_n]

    With ``floor=0`` and ``gamma=0`` the gradient is that of ``(1 - p^alpha) / alpha``, which runs from likelihood
    (alpha → 0) over probability (alpha = 1, DFT) to objectives that learn only what is nearly known (alpha > 1).

    alpha >= 1 helps where the base is right already more often than not (mathematics on a strong base); where it knows
    nothing of the task, new formats and new facts, it stalls, and alpha = 0 wins. In between neither does. ``gamma``
    pulls the other way, toward what is not known: with alpha = 0 it is the focal loss for weak bases.

    Reference: Li et al. 2025, "Beyond Log Likelihood" (arXiv 2510.00526), for p^alpha; Lin et al. 2017 for the focal
    factor, through which they differentiate and we do not. The floor is the advice of DFT's author.

    Args:
        alpha: Power, at least 0. 0 is NLL, bit for bit; 1 is DFT.
        floor: Least value of p^alpha, in [0, 1].
        gamma: Power of 1 - p, at least 0.

    Raises:
        ValueError: an argument lies outside its range.
    """

    alpha: float = 1.0
    floor: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "gamma"):
            value = {"alpha": self.alpha, "gamma": self.gamma}[name]
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")

    def weight(self, stats: TokenStats) -> Tensor | None:
        """Return max(p^alpha, floor) · (1 - p)^gamma, shape (R,); None where that is 1 for every token."""
        known_R = (self.alpha * stats.logp_N).exp() if self.alpha else None
        if known_R is not None and self.floor:
            known_R = known_R.clamp(min=self.floor)
        if not self.gamma:
            return known_R
        unknown_R = (-stats.logp_N.expm1()).clamp(min=0) ** self.gamma
        return unknown_R if known_R is None else known_R * unknown_R
