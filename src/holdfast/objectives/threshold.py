"""A mask by probability: learn only what the model, or the base model, holds likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Threshold(Objective):
    """Learn a token only if its probability is high enough.

        loss_n = -[q_n >= least] · log p_n ,   q_n = p_n, or the target's probability under the base model

    Unlikely tokens are where a step overwrites most of what the model knew, and often carry least of the task (a
    wording among many). Masked by the base, the mask is fixed and costs nothing once computed; masked by the model
    itself, tokens come in as they become likely. What the base does not know at all is never learned: not for new
    facts, formats or special tokens.

    Rows that weigh 0 skip the backward half of the output head.

    Reference: ``of: base`` is selective token masking, Wu et al. 2025 (arXiv 2501.14315; perplexity of at most 2.5, so
    a probability of at least 0.4); ``of: model`` is ProFiT (arXiv 2601.09195), which publishes no single threshold.

    Args:
        least: Lowest probability that is learned, in [0, 1]. 0 is NLL.
        of: Whose probability decides: ``base`` or ``model``.

    Raises:
        ValueError: ``least`` lies outside [0, 1], or ``of`` is neither.
    """

    least: float = 0.4
    of: Literal["base", "model"] = "base"

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= 1.0:
            raise ValueError(f"least must lie in [0, 1], got {self.least}")
        if self.of not in ("base", "model"):
            raise ValueError(f"of must be base or model, got {self.of!r}")

    @property
    def needs(self) -> frozenset[str]:
        """The base's log-probabilities, if they decide."""
        return frozenset({"base_logp"}) if self.of == "base" else frozenset()

    def weight(self, stats: TokenStats) -> Tensor:
        """Return 1 where the probability reaches ``least``, else 0, shape (R,)."""
        logp_R = stats.base_logp_N if self.of == "base" else stats.logp_N
        assert logp_R is not None
        return (logp_R.exp() >= self.least).to(stats.logp_N.dtype)
