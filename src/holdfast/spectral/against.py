"""Two updates of one base, A and B: do they point the same way, and did B take back what A did?

::

    cosine    <D_A, D_B> / (‖D_A‖ ‖D_B‖)
    undone    <D_A, D_A − D_B> / ‖D_A‖²  =  1 − <D_A, D_B> / ‖D_A‖²
    left, right    principal angles between the first k left (right) singular directions of D_A and of D_B

``undone`` is the share of A's drift, along A's own direction, that B no longer has: 0 if B keeps all of it, 1 if B has
none of it, below 0 if B went further. It reads as *B undid A* only where B is a checkpoint that went on from A (say,
reinforcement learning from a supervised checkpoint); of two independent runs it is 1 minus their overlap.

Angles are taken between at most `MOST` directions a side: an update has a few that rise out of its noise, and the rest
of its singular vectors are as good as random. Random k-subspaces of n dimensions have mean sin² θ = 1 − k/n and a
smallest angle of cos² θ = 4 a (1 − a), a = k/n (`holdfast.spectral.rotation.chance_least`): 38.7° for 768 of 4096, the
level at which published curves of supervised against reinforced updates begin.

Shapes: ``M`` × ``N`` of the updates.
"""

from __future__ import annotations

import math

from holdfast.report.spectral_readings import Against, Angles
from holdfast.spectral.counts import count_of
from holdfast.spectral.factors import Basis
from holdfast.spectral.rotation import angles_between
from holdfast.spectral.spectrum import EXACT_UP_TO, Leading, leading
from holdfast.spectral.update import Update

__all__ = ["against"]

MOST = 48


def against(one: Update, other: Update, *, k: float | int) -> Against:
    """Return how the update ``other`` (B) stands to ``one`` (A).

    Args:
        one, other: Of one base matrix.
        k: Directions of each: a share of min(M, N) or a number; at most `MOST`.

    Raises:
        ValueError: they are not updates of one matrix.
    """
    if one.base_MN.shape != other.base_MN.shape:
        raise ValueError(f"updates of one matrix are needed, got {one.base_MN.shape} and {other.base_MN.shape}")
    inner = math.fsum(
        float((one.difference(rows).double() * other.difference(rows).double()).sum()) for rows in one.rows()
    )
    energy, other_energy = one.energy, other.energy
    count = min(MOST, count_of(k, one.rank))
    moved = energy > 0 and other_energy > 0
    left: Angles | None = None
    right: Angles | None = None
    if moved:
        first, second = _directions(one, count), _directions(other, count)
        left, right = angles_between(first.left_MK, second.left_MK), angles_between(first.right_NK, second.right_NK)
    return Against(
        cosine=inner / math.sqrt(energy * other_energy) if moved else None,
        left=left,
        right=right,
        directions=count,
        undone=1 - inner / energy if energy else None,
        energy=energy,
        other_energy=other_energy,
        inner=inner,
    )


def _directions(update: Update, count: int) -> Basis | Leading:
    if update.rank > EXACT_UP_TO:
        return leading(update, count)
    return update.own.basis(update.whole(), slice(0, count))
