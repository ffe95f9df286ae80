"""Entropic distribution matching: raise the target over what the model would say, not over everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.objectives.base import Objective

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GEM(Objective):
    """Raise the target's logit over the mean logit under a sharpened copy of the model's own distribution.

        loss_n = Σ_v sg(q_nv) · z_nv - z_n,target ,   q_n = softmax(z_n / beta)

    The gradient at the logits is q - onehot(target), where cross-entropy has p - onehot(target). With beta < 1, q holds
    only the likely alternatives, so the many unlikely tokens are not pushed down further and diversity is kept: better
    best-of-n, less forgetting. The value is no likelihood and can be negative.

    Reference: Li et al. 2024, "Preserving Diversity in Supervised Fine-tuning" (arXiv 2408.16673), its linear form.

    Args:
        beta: Temperature of q, above 0. 1 has the gradient of NLL.

    Raises:
        ValueError: ``beta`` is not above 0.
    """

    beta: float = 0.7

    uses_vocabulary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    def row_loss(self, logits_RV: Tensor, target_R: Tensor, base_logits_RV: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return Σ q·z - z_target of each row, shape (R,)."""
        q_RV = (logits_RV.detach() / self.beta).softmax(-1)
        mean_R = (q_RV * logits_RV.where(q_RV > 0, 0.0)).sum(-1)  # 0 · -inf is 0 here
        return mean_R - logits_RV.gather(1, target_R[:, None])[:, 0]
