"""An anchor to the base model: divergence from it costs, on top of whatever objective teaches the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from holdfast.objectives.base import Objective, TokenStats

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Anchored(Objective):
    """Add to another objective the divergence from the base model at every target token, over the whole vocabulary.

        loss_n = other_n + strength · KL_n ,   KL_n = Σ_v p_base · (log p_base - log p)        (direction: from_base)
                                               KL_n = Σ_v p · (log p - log p_base)             (direction: to_base)

    The base is asked on the very same tokens. It keeps what the base knows wherever the demonstrations go, also where
    the objective gives a token no weight, at the price of the base's forward pass on every row and of its memory.

    Reference: on DFT this is ASFT (arXiv 2509.23753), strength 0.05; on NLL the plain "SFT + KL", which papers compare
    with less often than it deserves. Estimates of the KL from the target token alone, as some trainers have them, need
    other strengths.

    Args:
        on: The other objective: a name, or a mapping with ``name`` and its options.
        strength: Factor of the divergence, above 0.
        direction: ``from_base`` punishes losing what the base would say, ``to_base`` saying what it would not.

    Raises:
        ValueError: ``strength`` is not above 0, ``direction`` is neither, or ``on`` is anchored itself.
    """

    on: str | Mapping[str, Any] = "dft"
    strength: float = 0.05
    direction: Literal["from_base", "to_base"] = "from_base"
    other: Objective = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from holdfast.members import build
        from holdfast.objectives import OBJECTIVES

        if not self.strength > 0:
            raise ValueError(f"strength must be above 0, got {self.strength}; for no anchor name the objective itself")
        if self.direction not in ("from_base", "to_base"):
            raise ValueError(f"direction must be from_base or to_base, got {self.direction!r}")
        other = self.on if isinstance(self.on, Objective) else build("objective", self.on, OBJECTIVES)
        if other.penalizes:
            raise ValueError(f"on: {type(other).__name__} is anchored already; one anchor is enough")
        object.__setattr__(self, "other", other)

    @property
    def needs(self) -> frozenset[str]:
        """The base's logits, and what the other objective needs."""
        return self.other.needs | {"base_logits"}

    @property
    def uses_vocabulary(self) -> bool:  # type: ignore[override]
        """As the other objective."""
        return self.other.uses_vocabulary

    @property
    def top(self) -> int:  # type: ignore[override]
        """As the other objective."""
        return self.other.top

    @property
    def old_policy_steps(self) -> int:
        """As the other objective."""
        return self.other.old_policy_steps

    penalizes = True

    def weight(self, stats: TokenStats) -> Tensor | None:
        """Return the other objective's weight."""
        return self.other.weight(stats)

    def row_loss(self, logits_RV: Tensor, target_R: Tensor, base_logits_RV: Tensor | None) -> Tensor:
        """Return the other objective's loss."""
        return self.other.row_loss(logits_RV, target_R, base_logits_RV)

    def regularizer(self, model: nn.Module) -> Tensor | None:
        """Return the other objective's regularizer."""
        return self.other.regularizer(model)

    def penalty(self, logits_RV: Tensor, base_logits_RV: Tensor | None) -> Tensor:
        """Return strength · KL of each row, shape (R,)."""
        assert base_logits_RV is not None
        here_RV, there_RV = logits_RV.log_softmax(-1), base_logits_RV.log_softmax(-1)
        if self.direction == "from_base":
            here_RV, there_RV = there_RV, here_RV
        # Σ p (log p - log q); an entry that p cannot say adds 0, also where both are -inf.
        term_RV = here_RV.exp() * (here_RV - there_RV).where(here_RV > -float("inf"), 0.0)
        return self.strength * term_RV.sum(-1)
