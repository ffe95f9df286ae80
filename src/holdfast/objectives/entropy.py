"""Entropy-adaptive fine-tuning: learn where the model is undecided, spare what it is sure of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor

TOP = 20


@dataclass(frozen=True)
class Entropy(Objective):
    """Scale each token's cross-entropy by how undecided the model is there.

        loss_n = -sg((H_n / ln k)^alpha) · log p_n ,   H_n = entropy of the k = 20 most likely tokens, renormalized

    A token that the model holds unlikely *and* is sure about contradicts what it knows; learning it is what destroys.
    DFT spares it for being unlikely, and unlikely tokens at undecided places with it; this weight tells them apart.
    It keeps more of the general ability than NLL and loses little on the task; where the base is sure and wrong it
    does not learn.

    Reference: EAFT (arXiv 2601.02151), k = 20. The weight lies in [0, 1] because it is divided by ln k; some trainers
    divide by 3 or not at all, so that their loss is up to 3^alpha times larger.

    Args:
        alpha: Power, at least 0. 0 is NLL, bit for bit.

    Raises:
        ValueError: ``alpha`` is negative or not finite.
    """

    alpha: float = 1.0

    top: ClassVar[int] = TOP

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha must be at least 0, got {self.alpha}")

    @property
    def needs(self) -> frozenset[str]:
        """The most likely tokens."""
        return frozenset({"top_logp"}) if self.alpha else frozenset()

    def weight(self, stats: TokenStats) -> Tensor | None:
        """Return (H / ln k)^alpha for each token, shape (R,)."""
        if not self.alpha:
            return None
        assert stats.top_logp_NK is not None
        logp_RK = stats.top_logp_NK.log_softmax(-1)
        entropy_R = -(logp_RK.exp() * logp_RK.clamp(min=-1e4)).sum(-1)  # 0 · -inf is 0 here
        k = max(2, logp_RK.shape[-1])
        return (entropy_R / math.log(k)).clamp(0.0, 1.0) ** self.alpha
