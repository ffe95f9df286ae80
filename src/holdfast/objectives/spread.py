"""How much the gradients of tokens differ: whether what raises one likely token raises the others too.

Shapes: ``N`` tokens, ``H`` hidden width, ``K`` bins of p.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BINS = 5
"""Equal parts of [0, 1] into which tokens are sorted by p."""


class GradientSpread(NamedTuple):
    """How much the gradients that tokens send into the model differ, by bins of p: K equal parts of [0, 1].

    All three are sums over tokens, so those of micro-batches and ranks add up. With ``g = d(w·l) / d hidden`` of one
    token, H wide, the mean of ``‖g - mean g‖²`` over n tokens is ``(Σ ‖g‖² - ‖Σ g‖² / n) / n``.

    Attributes:
        count_K: Tokens of each bin.
        squares_K: Σ ‖g‖² over the bin's tokens.
        sum_KH: Σ g over the bin's tokens.
    """

    count_K: Tensor
    squares_K: Tensor
    sum_KH: Tensor


def gradient_spread(gradient_NH: Tensor | None, logp_N: Tensor, *, share_N: Tensor, width: int) -> GradientSpread:
    """Return the sums over tokens by bins of p.

    Args:
        gradient_NH: What flows back to the hidden state of each token, times its share of the step; None: nothing does.
        logp_N: log p of each token's target, in the dtype in which is summed.
        share_N: Each token's share of the step.
        width: H.
    """
    zeros_K = torch.zeros(BINS, dtype=logp_N.dtype, device=logp_N.device)
    zeros_KH = zeros_K.new_zeros(BINS, width)
    if gradient_NH is None:
        return GradientSpread(zeros_K, zeros_K.clone(), zeros_KH)
    bin_N = (logp_N.exp() * BINS).long().clamp(0, BINS - 1)
    smallest = torch.finfo(logp_N.dtype).tiny
    # What was collected is times the share; one token's own gradient is without it.
    own_NH = gradient_NH.to(logp_N.dtype) / share_N.to(logp_N.dtype).clamp(min=smallest)[:, None]
    count_K = zeros_K.index_add(0, bin_N, torch.ones_like(logp_N))
    squares_K = zeros_K.index_add(0, bin_N, own_NH.square().sum(1))
    return GradientSpread(count_K, squares_K, zeros_KH.index_add(0, bin_N, own_NH))
