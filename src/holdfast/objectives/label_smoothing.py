"""Cross-entropy against a target that is not quite certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.objectives.base import Objective

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LabelSmoothing(Objective):
    """Share a little of the target's mass among all tokens.

        loss_n = -(1 - epsilon) · log p_n - epsilon / V · Σ_v log p_nv

    Probabilities stop rising before certainty, which keeps logits, and with them the step, bounded. On demonstrations
    with one right continuation it also teaches every wrong one a little.

    Reference: Szegedy et al. 2016. Vocabulary entries that the model masks with minus infinity take no share.

    Args:
        epsilon: Mass that is shared, in [0, 1).

    Raises:
        ValueError: ``epsilon`` lies outside [0, 1).
    """

    epsilon: float = 0.1

    uses_vocabulary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon < 1.0:
            raise ValueError(f"epsilon must lie in [0, 1), got {self.epsilon}")

    def row_loss(self, logits_RV: Tensor, target_R: Tensor, base_logits_RV: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the smoothed cross-entropy of each row, shape (R,)."""
        logp_RV = logits_RV.log_softmax(-1)
        nll_R = -logp_RV.gather(1, target_R[:, None])[:, 0]
        said_RV = logits_RV.isfinite()
        uniform_R = -logp_RV.where(said_RV, 0.0).sum(-1) / said_RV.sum(-1)
        return (1 - self.epsilon) * nll_R + self.epsilon * uniform_R
