"""Intruder dimensions: leading singular vectors of the tuned matrix that are like none of the base's.

Reference: Shuttleworth et al. 2024, https://arxiv.org/abs/2410.21228. Defaults are those of PEFT's
``reduce_intruder_dimension``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.spectral.counts import LEAST_LIKENESS, TOP
from holdfast.spectral.update import Update


def intruders(update: Update, *, top: int = TOP, epsilon: float = LEAST_LIKENESS) -> Tensor:
    """Return the indices (of the tuned matrix's descending order) of its intruder dimensions.

    Index i of the first ``top`` is one if max_j |u'_i · u_j| < epsilon over all of the base's vectors of the smaller
    side. The paper takes the left side; both turn together, and the smaller side costs less.
    """
    count = min(top, update.rank)
    mine = update.tuned.vectors_RR[:, :count].to(torch.float64)
    likeness_RK = (update.base.vectors_RR.to(mine.device, torch.float64).T @ mine).abs()
    return (likeness_RK.amax(0) < epsilon).nonzero()[:, 0]
