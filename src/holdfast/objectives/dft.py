"""Dynamic fine-tuning: cross-entropy scaled by the model's own probability of the target token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DFT(Objective):
    """Scale each token's cross-entropy by the probability the model already gives to that token.

        loss_n = -sg(max(p_n, floor)) · log p_n ,   p_n = softmax(logits_n)[target_n] ,   sg = stop-gradient

    With ``floor=0`` the gradient is exactly that of -p_n: at the target's logit -p(1 - p), which fades at both ends, so
    a token that the model holds nearly impossible no longer dominates the step, and is hardly learned either.

    The *value* is not a likelihood and not monotone in p (it peaks at p = 1/e and falls to 0 as p → 0), and it is 10 to
    20 times smaller than cross-entropy: a falling curve does not mean progress. Plain NLL is logged beside it.

    It helps most where a capable base learns long reasoning with many right wordings. It does not teach new facts, new
    special tokens or a new format well: there raise ``floor``, or use NLL.

    Reference: Wu et al. 2025, "On the Generalization of SFT: a Reinforcement Learning Perspective with Reward
    Rectification" (arXiv 2508.05629). Normalized over the tokens of the whole optimizer step; the authors' trainer sums
    over micro-batches. The floor is not in the paper; its author advises 0.1 where end-of-turn tokens are not learned.

    Args:
        floor: Least weight of a token, in [0, 1]. 0 is the paper's objective; 1 is NLL, bit for bit.

    Raises:
        ValueError: ``floor`` lies outside [0, 1].
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")

    def weight(self, stats: TokenStats) -> Tensor:
        """Return max(p, floor) for each token, shape (R,)."""
        p_R = stats.logp_N.exp()
        return p_R.clamp(min=self.floor) if self.floor else p_R
