"""Proximal fine-tuning: likelihood in small, clipped steps from the policy of a moment ago."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Proximal(Objective):
    """Learn a token until its probability has risen by a factor, then leave it until the old policy is taken anew.

        loss_n = -sg(r_n · [r_n <= 1 + clip]) · log p_n ,   r_n = p_n / p_old,n

    PPO's clipped surrogate with an advantage of 1: only the upper bound can bind. ``p_old`` are the probabilities under
    the model as it was up to ``refresh`` optimizer steps ago, taken for all rows of these steps at once. On the first
    of them r = 1 and the gradient is that of NLL.

    It keeps entropy, and what was known, better than NLL at equal likelihood gained; it needs more steps, and one more
    forward pass over every row.

    Reference: PSFT (arXiv 2508.17784), clip 0.28, 8 steps to a refresh.

    Args:
        clip: How much the probability may rise, above 0.
        refresh: Optimizer steps from one old policy to the next, at least 1; 1 is NLL.

    Raises:
        ValueError: an argument lies outside its range.
    """

    clip: float = 0.28
    refresh: int = 8

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")
        if self.refresh < 1:
            raise ValueError(f"refresh must be at least 1, got {self.refresh}")

    @property
    def needs(self) -> frozenset[str]:
        """The old policy's log-probabilities."""
        return frozenset({"old_logp"})

    @property
    def old_policy_steps(self) -> int:
        """``refresh``."""
        return self.refresh

    def weight(self, stats: TokenStats) -> Tensor:
        """Return the ratio where it is at most 1 + clip, else 0, shape (R,)."""
        assert stats.old_logp_N is not None
        # Where both are -inf the difference is NaN; a token that neither policy can say is not learned.
        ratio_R = (stats.logp_N - stats.old_logp_N).nan_to_num(nan=float("inf")).exp()
        return ratio_R.where(ratio_R <= 1 + self.clip, 0.0)
