"""Sample weights from the base model's loss: easy demonstrations first, hard ones hardly at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SampleWeighted(Objective):
    """Scale every token of an answer by how well the base model already does on that answer.

        loss_n = -exp(-l_a / temperature) · log p_n ,   l_a = mean NLL of the answer under the base model

    Answers that the base finds hard pull it furthest from what it knows. The weights are fixed before training, so
    curves stay comparable. Little is learned where every answer is hard for the base.

    Reference: FLOW, Sanyal et al. 2025 (arXiv 2502.02797), which sets the temperature to the median of l_a over the
    training rows; ``holdfast plan`` prints that number.

    Args:
        temperature: In nats, above 0.

    Raises:
        ValueError: ``temperature`` is not above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    @property
    def needs(self) -> frozenset[str]:
        """The base's mean log-probability over the answer."""
        return frozenset({"mean_base_logp"})

    def weight(self, stats: TokenStats) -> Tensor:
        """Return exp(-l_a / temperature), shape (R,)."""
        assert stats.mean_base_logp_N is not None
        return (stats.mean_base_logp_N / self.temperature).exp()
