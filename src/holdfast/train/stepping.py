"""How the loop steps: rates, clipping and AdamW, in the words of Transformers' ``TrainingArguments``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from holdfast.train.schedule import Shape


@dataclass(frozen=True)
class Settings:
    """How the loop steps. Field names and meanings are those of Transformers' ``TrainingArguments``."""

    steps: int
    learning_rate: float
    lr_scheduler_type: Shape = "constant_with_warmup"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    logging_steps: int = 10
    save_steps: int = 0
    compute_dtype: torch.dtype = torch.float32
    swallow_dtype: torch.dtype | None = None
    """Dtype in which `meters.swallowed_update_fraction` asks whether one full step would be lost; None: not asked."""


def make_optimizer(weights: Sequence[nn.Parameter], settings: Settings) -> torch.optim.AdamW:
    """Return AdamW over ``weights``, fused where the device has a fused kernel. Vectors get no weight decay."""
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )


def seed_everything(seed: int, *, rank: int = 0) -> None:
    """Seed the random states that libraries draw from (dropout, initialization). Data order never depends on them.

    Ranks draw different numbers, or the same neurons would be dropped for all of their rows.
    """
    seed += 1_000_003 * rank
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
