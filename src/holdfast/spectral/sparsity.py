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

__all__ = ["unchanged"]


def unchanged(base: Tensor, tuned: Tensor) -> Unchanged:
    """Return the shares of weights that did not change.

    Args:
        base, tuned: Of one shape, any floating dtypes.
    """
    count = base.numel()
    one, other = base.reshape(-1), tuned.reshape(-1)
    wide = torch.float64 if torch.float64 in (base.dtype, tuned.dtype) else torch.float32
    before, after = one.to(wide), other.to(wide)
    apart, size = (after - before).abs(), before.abs()
    close = apart <= CLOSE + CLOSE * size
    relative = apart <= RELATIVE * torch.maximum(size, after.abs())
    rounded = apart == 0 if base.dtype == tuned.dtype else one.to(tuned.dtype) == other
    bits = rounded if base.dtype == tuned.dtype else apart == 0
    told = (int(torch.count_nonzero(mask)) / count for mask in (bits, rounded, relative, close))
    return Unchanged(*told)
