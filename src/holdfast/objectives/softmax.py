"""Softmax statistics and the cross-entropy gradient of one chunk, in place and block by block.

A row of logits is read once into the cache, turned into log-probabilities there, and written back: half the time and
half the memory of the same three operations on the whole chunk (``benchmarks/loss_memory.py``).

Shapes: ``R`` rows of one chunk, ``V`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

CPU_BLOCK, GPU_BLOCK = 2**18, 2**26
"""Elements over which softmax and its gradient run at a time, in place. On a CPU a block stays in the cache, which
halves the time; on a GPU it only bounds the temporary memory (256 MB)."""


def statistics_dtype(values: Tensor) -> torch.dtype:
    """Return the dtype in which statistics of ``values`` are kept: float32, or float64 where they are float64."""
    return torch.promote_types(values.dtype, torch.float32)


def log_softmax_(logits_RV: Tensor, target_R: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into log-probabilities, in place; return those of the targets and the entropies, each (R,)."""
    logp_R = logits_RV.new_empty(len(logits_RV))
    entropy_R = torch.empty_like(logp_R)
    for block in _blocks(logits_RV):
        logp_block = torch.log_softmax(logits_RV[block], dim=-1)
        logp_R[block] = logp_block.gather(1, target_R[block, None])[:, 0]
        # An entry of minus infinity adds 0 · -inf, which is 0 here.
        entropy_R[block] = -(logp_block.exp() * logp_block.clamp(min=-1e4)).sum(-1)
        logits_RV[block] = logp_block
    return logp_R, entropy_R


def cross_entropy_gradient_(logp_RV: Tensor, target_R: Tensor, factor_R: Tensor) -> Tensor:
    """Turn log-probabilities into factor · (p - onehot(target)), in place, and return it."""
    for block in _blocks(logp_RV):
        logp_RV[block].exp_().mul_(factor_R[block, None])
    return logp_RV.scatter_add_(1, target_R[:, None], -factor_R[:, None])


def _blocks(values_RV: Tensor) -> list[slice]:
    rows, vocabulary = values_RV.shape
    size = max(1, (CPU_BLOCK if values_RV.device.type == "cpu" else GPU_BLOCK) // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]
