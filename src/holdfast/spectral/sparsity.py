"""How many weights training left alone, by four measures that disagree.

What is called the sparsity of an update depends on the test. Stored in bfloat16, a weight moves only by 1/256 of
itself or more, so small updates are rounded away; arXiv 2511.08567 shows that the sparsity reported of reinforcement
learning is this, and takes |w' − w| <= 1e-3 max(|w|, |w'|), which in bfloat16 is the same as equality. A test with an
absolute tolerance (Mukherjee et al. 2025, arXiv 2505.11711: 1e-5) also counts small weights that did move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.report.spectral_readings import Unchanged

RELATIVE = 1e-3
CLOSE = 1e-5
AT_ONCE = 200_000
"""Weights that are compared at a time: as many as a processor's cache holds."""

__all__ = ["unchanged"]


def unchanged(base: Tensor, tuned: Tensor) -> Unchanged:
    """Return the shares of weights that did not change.

    Args:
        base, tuned: Of one shape, any floating dtypes.
    """
    one, other = base.reshape(-1), tuned.reshape(-1)
    totals = torch.zeros(4, dtype=torch.int64)
    step = AT_ONCE if base.device.type == "cpu" else base.numel()
    for at in range(0, base.numel(), step):
        totals += _counted(one[at : at + step], other[at : at + step])
    return Unchanged(*(totals.double() / base.numel()).tolist())


def _counted(one: Tensor, other: Tensor) -> Tensor:
    """Return how many weights are unchanged by each measure, in the order of `Unchanged`."""
    wide = torch.float64 if torch.float64 in (one.dtype, other.dtype) else torch.float32
    before, after = one.to(wide), other.to(wide)
    apart, size = (after - before).abs_(), before.abs()
    bits = apart == 0
    rounded = bits if one.dtype == other.dtype else one.to(other.dtype) == other
    close = apart <= torch.add(CLOSE * size, CLOSE)
    relative = apart <= RELATIVE * torch.maximum(size, after.abs())
    return torch.stack([torch.count_nonzero(mask) for mask in (bits, rounded, relative, close)]).cpu()
