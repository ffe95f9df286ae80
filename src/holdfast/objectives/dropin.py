"""Our objectives as a loss function for other trainers: exact, but not lean.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``V`` vocabulary, ``N`` tokens with a label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.objectives.base import Objective, TokenStats
from holdfast.objectives.targets import IGNORED

OFFERED = frozenset({"entropy", "top_logp"})
"""The optional statistics that logits alone can give."""


def loss_function(objective: Objective) -> Callable[..., Tensor]:
    """Return ``f(outputs, labels, num_items_in_batch=None)`` for the ``compute_loss_func`` of a Trainer.

        f = 1/Z · Σ_n sg(w_n) · l_n ,   Z = num_items_in_batch, or the number of labels where that is None (evaluation)

    Gives what TRL's ``loss_type="nll"`` and ``"dft"`` give, for any objective. The logits come from the trainer's own
    forward, whole: memory is that of plain cross-entropy, N · V float32 values and their gradients. `Engine` computes
    the same numbers without them, and is what holdfast itself trains with.

    Objectives with a regularizer, or that need more than logits (a base model, old log-probabilities), are refused: a
    trainer calls this function once a micro-batch and hands it nothing else.

    Raises:
        UserError: the objective needs what a loss function is not given.

    Example:
        >>> from holdfast.objectives.dft import DFT
        >>> trainer = SFTTrainer(model, compute_loss_func=loss_function(DFT()))   # doctest: +SKIP
    """
    missing = sorted(objective.needs - OFFERED)
    if missing:
        raise UserError(
            f"objective {type(objective).__name__} needs {', '.join(missing)}; only the Engine supplies that"
        )
    if objective.penalizes:
        raise UserError(f"objective {type(objective).__name__} has a penalty; only the Engine adds it")
    if type(objective).regularizer is not Objective.regularizer:
        raise UserError(f"objective {type(objective).__name__} has a regularizer; only the Engine adds it")

    def loss(
        outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None, **_trainer_extras: object
    ) -> Tensor:
        logits_BTV: Tensor = outputs["logits"]
        target_BT = labels[:, 1:].to(logits_BTV.device)
        learned_BT = target_BT != IGNORED
        logits_NV = logits_BTV[:, :-1][learned_BT].float()
        target_N = target_BT[learned_BT]
        logp_NV = torch.log_softmax(logits_NV, dim=-1)
        logp_N = logp_NV.gather(1, target_N[:, None])[:, 0]
        with torch.no_grad():
            entropy_N = torch.special.entr(logp_NV.exp()).sum(-1) if "entropy" in objective.needs else None
            top_NK = logp_NV.topk(min(objective.top, logp_NV.shape[-1])).values if objective.top else None
            weight_N = objective.weight(TokenStats(logp_N.detach(), entropy_N, top_NK))
        row_N = objective.row_loss(logits_NV, target_N, None) if objective.uses_vocabulary else -logp_N
        weighted_N = row_N if weight_N is None else weight_N.detach() * row_N
        count = learned_BT.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return weighted_N.sum() / count.to(weighted_N.device).clamp(min=1)

    return loss
