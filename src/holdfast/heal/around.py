"""What is taken back around a pair of subspaces.

Shapes: ``M`` rows, ``N`` columns, ``K`` directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holdfast.heal.base import Edit
from holdfast.spectral.update import Update


def around(update: Update, left_MK: Tensor, right_NK: Tensor) -> Edit:
    """Return P D + D Q − P D Q for the subspaces that two orthonormal bases span: all of D but (I − P) D (I − Q)."""
    below_KN, beside_MK = update.left(left_MK), update.right(right_NK)
    rest_MK = beside_MK - left_MK @ (left_MK.T @ beside_MK)
    return Edit(left_MK=torch.cat([left_MK, rest_MK], dim=1), right_NK=torch.cat([below_KN.T, right_NK], dim=1))
