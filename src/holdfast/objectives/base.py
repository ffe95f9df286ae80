"""The contract of an objective: what training minimizes, as three hooks on one chunked engine.

For the N target tokens of a whole optimizer step (all micro-batches, all ranks)::

    loss = 1/Z · Σ_n  sg(weight(stats)_n) · row_loss_n   +   regularizer(model)

``Z`` is the number of target tokens (``normalize: tokens``), of examples (each example's mean counts once), or the sum
of the weights. Shift, mask, float32 statistics, bounded memory and that one normalization are the engine's
(``objectives/engine.py``), once. A member writes only the mathematics. This file imports no torch at run time, so that
a recipe can be checked in a moment.

A complete member::

    @dataclass(frozen=True)
    class DFT(Objective):
        def weight(self, stats):
            return stats.logp_N.exp()

Shapes: ``N`` counted tokens, ``R`` rows of one chunk, ``V`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TokenStats:
    """float32 statistics of the target tokens of one chunk; every tensor has shape (R,) and carries no gradient.

    Attributes:
        logp_N: Log-probability of the target under the model.
        entropy_N: Entropy of the model's distribution in nats; None unless the objective ``needs`` it.
        base_logp_N: Log-probability under the base model; None unless needed.
        old_logp_N: Log-probability under the policy that made the data; None unless needed.
    """

    logp_N: Tensor
    entropy_N: Tensor | None = None
    base_logp_N: Tensor | None = None
    old_logp_N: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """What is minimized. Subclasses are frozen dataclasses and override one to three hooks.

    Class attributes:
        needs: What it reads beyond the target's log-probability: ``entropy``, ``base_logp``, ``old_logp`` (by
            ``weight``), ``base_logits`` (by ``row_loss``).
        uses_vocabulary: Whether ``row_loss`` is overridden (it then sees the logits of a chunk).
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    uses_vocabulary: ClassVar[bool] = False

    def weight(self, stats: TokenStats) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return one finite weight >= 0 a row, detached, shape (R,); None means 1 everywhere."""
        return None

    def row_loss(self, logits_RV: Tensor, target_R: Tensor, base_logits_RV: Tensor | None) -> Tensor:
        """Return the loss of each row, shape (R,), differentiable in ``logits_RV``; only for what needs the vocabulary.

        Logits are float32 and carry the model's soft cap or scale. ``base_logits_RV`` is None unless ``needs`` names
        it. The engine computes the cross-entropy itself where this is not overridden (``uses_vocabulary`` False).
        """
        raise NotImplementedError  # the engine never calls it unless uses_vocabulary is True

    def regularizer(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return a scalar added once per optimizer step, or None."""
        return None
