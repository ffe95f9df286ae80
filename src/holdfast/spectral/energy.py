"""Where in the base's directions an update lies.

With P, Q the projectors on the base's first k left and right singular directions, ‖D‖² falls into four blocks::

    inside  ‖P D Q‖²     left  ‖P D (I − Q)‖²     right  ‖(I − P) D Q‖²     outside  ‖(I − P) D (I − Q)‖²

and, across them, the diagonal Σ (u_iᵀ D v_i)² over all i: the part that only changes singular values. A Gaussian update
has k²/(MN), k(N − k)/(MN), k(M − k)/(MN), (M − k)(N − k)/(MN), and 1/max(M, N) on the diagonal.

That nearly all of an update is off the diagonal therefore says nothing about training: it is so for any small update.

Exact in both roads: nothing of the tuned matrix is decomposed.
"""

from __future__ import annotations

from holdfast.report.spectral_readings import EnergySplit
from holdfast.spectral.coordinates import Coordinates

__all__ = ["energy_split"]


def energy_split(found: Coordinates, count: int) -> EnergySplit | None:
    """Return the blocks of the update around the base's first ``count`` directions; None where nothing moved."""
    if not found.energy:
        return None
    squares_RR = found.core.square()
    inside = float(squares_RR[:count, :count].sum().double())
    small = float(found.rows_R[:count].sum()) - inside
    large = float(squares_RR[count:, :count].sum().double())
    outside = found.energy - inside - small - large
    diagonal, total = float(squares_RR.diagonal().sum().double()), found.energy
    left, right = (small, large) if found.rows_are_smaller else (large, small)
    return EnergySplit(
        diagonal=diagonal / total,
        inside=inside / total,
        left=max(0.0, left) / total,
        right=right / total,
        outside=max(0.0, outside) / total,
        count=count,
        rows=found.rows,
        columns=found.columns,
    )
