"""Checks that healers share: what counts directions, and what is taken back around a pair of subspaces."""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.heal.base import Edit
from holdfast.spectral.update import Update


def check_share(name: str, value: float | int, *, least: float | int = 0, zero: bool = False) -> None:
    """Raise ValueError unless ``value`` counts directions: a share in (0, 1], or a number of at least 1."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if zero and value == 0:
        return
    if not (value >= 1 if whole else least < value <= 1):
        raise ValueError(f"{name} must be a share in (0, 1] or a whole number of directions, got {value!r}")


def around(update: Update, left_MK: Tensor, right_NK: Tensor) -> Edit:
    """Return P D + D Q − P D Q for the subspaces that two orthonormal bases span: all of D but (I − P) D (I − Q)."""
    below_KN, beside_MK = update.left(left_MK), update.right(right_NK)
    rest_MK = beside_MK - left_MK @ (left_MK.T @ beside_MK)
    return Edit(left_MK=torch.cat([left_MK, rest_MK], dim=1), right_NK=torch.cat([below_KN.T, right_NK], dim=1))
