"""The contract of an objective: what training minimizes, as four hooks on one chunked engine.

For the N target tokens of a whole optimizer step (all micro-batches, all ranks)::

    loss = 1/Z · Σ_n ( sg(weight(stats)_n) · row_loss_n + penalty_n )   +   regularizer(model)

``Z`` is the number of target tokens (``normalize: tokens``), of examples (each example's mean counts once), or the sum
of the weights. Shift, mask, float32 statistics, bounded memory and that one normalization are the engine's
(``objectives/engine.py``), once. A member writes only the mathematics. This file imports no torch at run time, so that
a recipe can be checked in a moment.

A complete member::

    @dataclass(frozen=True)
    class DFT(Objective):
        def weight(self, stats):
            return stats.logp_N.exp()

Shapes: ``N`` counted tokens, ``R`` rows of one chunk, ``V`` vocabulary, ``K`` most likely tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

NEEDS = frozenset({"entropy", "top_logp", "base_logp", "old_logp", "mean_logp", "mean_base_logp", "base_logits"})
"""Everything that an objective may ask for; see `TokenStats`, and `Objective.penalty` for the last."""

OF_THE_BASE = frozenset({"base_logp", "mean_base_logp", "base_logits"})
"""What only the untrained model can tell."""


@dataclass(frozen=True)
class TokenStats:
    """float32 statistics of the target tokens of one chunk; every tensor but one has shape (R,); none has a gradient.

    All but ``logp_N`` are None unless the objective ``needs`` them.

    Attributes:
        logp_N: Log-probability of the target under the model.
        entropy_N: Entropy of the model's distribution in nats.
        top_logp_NK: Log-probabilities of the K most likely tokens, shape (R, K), with K the objective's ``top``.
        base_logp_N: Log-probability under the base model.
        old_logp_N: Log-probability under the policy of some steps ago.
        mean_logp_N: Mean of ``logp_N`` over the answer that the token belongs to. The answer's last token must be known
            before its first is weighed: one more pass through the output head.
        mean_base_logp_N: The same of ``base_logp_N``.
    """

    logp_N: Tensor
    entropy_N: Tensor | None = None
    top_logp_NK: Tensor | None = None
    base_logp_N: Tensor | None = None
    old_logp_N: Tensor | None = None
    mean_logp_N: Tensor | None = None
    mean_base_logp_N: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """What is minimized. Subclasses are frozen dataclasses and override one to four hooks.

    Class attributes:
        uses_vocabulary: Whether ``row_loss`` is overridden (it then sees the logits of a chunk).
        penalizes: Whether ``penalty`` is.
        top: K of ``TokenStats.top_logp_NK``.
    """

    uses_vocabulary: ClassVar[bool] = False
    penalizes: ClassVar[bool] = False
    top: ClassVar[int] = 0

    @property
    def needs(self) -> frozenset[str]:
        """What it reads beyond the target's log-probability, of `NEEDS`."""
        return frozenset()

    @property
    def old_policy_steps(self) -> int:
        """For how many optimizer steps one old policy serves; 0 unless ``needs`` names ``old_logp``."""
        return 0

    def weight(self, stats: TokenStats) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return one finite weight >= 0 a row, detached, shape (R,); None means 1 everywhere."""
        return None

    def row_loss(self, logits_RV: Tensor, target_R: Tensor, base_logits_RV: Tensor | None) -> Tensor:
        """Return the loss of each row, shape (R,), differentiable in ``logits_RV``; only for what needs the vocabulary.

        Logits are float32 and carry the model's soft cap or scale. ``base_logits_RV`` is None unless ``needs`` names
        ``base_logits``. The engine computes the cross-entropy itself where this is not overridden.
        """
        raise NotImplementedError  # the engine never calls it unless uses_vocabulary is True

    def penalty(self, logits_RV: Tensor, base_logits_RV: Tensor | None) -> Tensor:
        """Return what each row adds whatever it weighs, shape (R,), differentiable in ``logits_RV``.

        Logits are as in `row_loss`.
        """
        raise NotImplementedError  # the engine never calls it unless penalizes is True

    def regularizer(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return a scalar added once per optimizer step, or None."""
        return None
