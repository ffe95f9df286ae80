"""The floating point operations of healing, counted as they run: products, symmetric eigenproblems and SVDs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def counting() -> FlopCounterMode:
    """Return a context that counts; ask it for ``get_total_flops()`` afterwards.

    Beside matrix products, which PyTorch counts itself, a symmetric eigenproblem of size R with vectors counts 9 R³ and
    a thin SVD of M × N with R = min(M, N) 6 max(M, N) R² + 20 R³ (Golub and Van Loan).
    """
    mapping = {torch.ops.aten._linalg_eigh: _eigh, torch.ops.aten._linalg_svd: _svd}
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _eigh(shape: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ARG001  (its signature)
    return 9 * shape[-1] ** 3 * math.prod(shape[:-2])


def _svd(shape: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:  # noqa: ARG001  (its signature)
    large, small = max(shape[-2:]), min(shape[-2:])
    return (6 * large * small**2 + 20 * small**3) * math.prod(shape[:-2])
