"""Negative log-likelihood: plain cross-entropy on the target tokens, the objective every other one is read beside."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.objectives.base import Objective


@dataclass(frozen=True)
class NLL(Objective):
    """Cross-entropy: every target token counts the same.

        loss_n = -log p_n ,   p_n = softmax(logits_n)[target_n]

    The gradient at the target's logit is -(1 - p): the less likely the model holds a token, the harder it is pulled.
    """
