"""How far the base's leading and trailing singular subspaces turned, on the left and on the right.

Principal angles θ of two k-subspaces with orthonormal bases B (base) and T (tuned). From cosines alone, arccos of the
singular values of Bᵀ T, an angle of 0 reads as 0.04° in float32. Here both are taken, in float64::

    sin θ = singular values of (I − B Bᵀ) T ,   cos θ = singular values of Bᵀ T ,   θ = atan2(sin θ, cos θ)

so that small angles come from sines and large ones from cosines (Björck and Golub 1973; Knyazev and Argentati 2002).

Largest and root mean square are told in degrees. Two k-subspaces of n dimensions share max(0, 2k − n) of them whatever
they are (`Angles.forced`), and random ones have Σ sin² θ = k (1 − k/n) in the mean, by which ``of_chance`` is divided.

Two roads. `exact_rotation` decomposes the tuned matrix. `first_order_rotation` does not: from the left subspace of the
update in base coordinates (`holdfast.spectral.turning`) the right one follows, since the right singular subspace of a
matrix is its transpose times the left one; what of it lies outside of the base's right vectors counts in full.

The largest angle says as much about the cut as about training: where the k-th and the next singular value are nearly
equal, any update turns the two into each other. The root mean square hardly depends on that.

Shapes: ``R`` = min(M, N), ``N`` the space of a side, ``K`` directions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from holdfast.report.spectral_readings import Angles, Rotation
from holdfast.spectral.coordinates import Coordinates
from holdfast.spectral.turning import Ends, Turned, turned
from holdfast.spectral.update import Update

__all__ = ["angles_between", "chance_least", "exact_rotation", "first_order_rotation"]

ROUNDING = 1e-3
"""What float32 products may add to an error, relative to the reading."""
JITTER = 1e-6
"""Added to Gram matrices of normalized columns before they are factorized: what rounding in float32 may take away."""


def chance_least(count: int, size: int) -> float:
    """Return the smallest angle, in degrees, of two random ``count``-subspaces of a large space of ``size``.

    With a = k/n at most a half, cos² θ_min = 4 a (1 − a) as n grows; above a half, subspaces meet and it is 0.

    Example:
        >>> round(chance_least(768, 4096), 1)
        38.7
    """
    share = count / size
    return 0.0 if share >= 0.5 else math.degrees(math.acos(math.sqrt(4 * share * (1 - share))))


def angles_between(base_NK: Tensor, tuned_NK: Tensor) -> Angles:
    """Return the angles between the spans of two bases with orthonormal columns, in float64."""
    base, tuned = base_NK.double(), tuned_NK.double()
    within_KK = base.T @ tuned
    beyond_NK = tuned - base @ within_KK
    # The bases come from float32 files: the part of rounding that (I − B Bᵀ) leaves within span(B) goes, too.
    beyond_NK = beyond_NK - base @ (base.T @ beyond_NK)
    return _angles(beyond_NK.T @ beyond_NK, within_KK.T @ within_KK, size=base.shape[0])


def exact_rotation(update: Update, columns: slice) -> Rotation:
    """Return how the subspaces of ``columns`` turned, from the singular system of the tuned matrix.

    Args:
        update: Of one matrix.
        columns: Singular indices in descending order, with both ends.
    """
    base = update.base.basis(update.base_MN, columns)
    tuned = update.tuned.basis(update.tuned_MN, columns)
    return Rotation(angles_between(base.left_MK, tuned.left_MK), angles_between(base.right_NK, tuned.right_NK))


def first_order_rotation(found: Coordinates, ends: Ends) -> Rotation:
    """Return how the first or last directions turned, without the singular system of the tuned matrix.

    Args:
        found: The update in base coordinates, with the columns ``ends.near`` of L Lᵀ.
        ends: Which directions.
    """
    subspace = turned(found, ends)
    first, second = _small_side(subspace.first_RK, found, ends), _small_side(subspace.second_RK, found, ends)
    small = _told(second, second, first, subspace)
    large = _told(_large_side(subspace.second_RK, found, ends), second, first, subspace)
    return Rotation(small, large) if found.rows_are_smaller else Rotation(large, small)


def _small_side(spanned_RK: Tensor, found: Coordinates, ends: Ends) -> Angles:
    within, beyond = spanned_RK[ends.own], spanned_RK[ends.rest]
    return _of_span(within.T @ within, beyond.T @ beyond, size=found.rank)


def _large_side(spanned_RK: Tensor, found: Coordinates, ends: Ends) -> Angles:
    """Return the angles of the span of W_tunedᵀ times the small side's vectors, in base coordinates."""
    core_RR = found.core
    moved_RK = core_RR.T @ spanned_RK
    image_RK = torch.addcmul(moved_RK, found.values_R.to(core_RR.dtype)[:, None], spanned_RK)
    within, beyond = image_RK[ends.own], image_RK[ends.rest]
    beyond_KK = beyond.T @ beyond
    if found.larger > found.rank:
        # What leaves the span of the base's right vectors, all but a product of two parts that are small.
        near_XK = spanned_RK[ends.near]
        seen_RK, caught_RK = found.gram(ends.near) @ near_XK, core_RR[ends.near].T @ near_XK
        half_KK = spanned_RK.T @ seen_RK - moved_RK.T @ caught_RK
        inner_KK = near_XK.T @ seen_RK[ends.near] - caught_RK.T @ caught_RK
        beyond_KK = beyond_KK + half_KK + half_KK.T - inner_KK
    return _of_span(within.T @ within, beyond_KK, size=found.larger)


def _of_span(within_KK: Tensor, beyond_KK: Tensor, *, size: int) -> Angles:
    """Return the angles of a span from the Gram matrices of its parts within and beyond the base's subspace."""
    whole_KK = within_KK + beyond_KK
    scale_K = whole_KK.diagonal().clamp_min(torch.finfo(whole_KK.dtype).tiny).rsqrt()
    scale_KK = scale_K[:, None] * scale_K
    unit_KK = torch.eye(len(scale_K), dtype=whole_KK.dtype, device=whole_KK.device)
    root_KK, fault = torch.linalg.cholesky_ex(torch.addcmul(JITTER * unit_KK, whole_KK, scale_KK))
    if int(fault):
        values, vectors = torch.linalg.eigh(whole_KK * scale_KK)
        root_KK = torch.linalg.cholesky(vectors * values.clamp_min(100 * JITTER) @ vectors.T)
    half = torch.linalg.solve_triangular(root_KK, beyond_KK * scale_KK, upper=False)
    sines_KK = torch.linalg.solve_triangular(root_KK, half.T, upper=False)
    return _angles(sines_KK, None, size=size)


def _angles(sines_KK: Tensor, cosines_KK: Tensor | None, *, size: int) -> Angles:
    """Return the angles whose squared sines (cosines) are the eigenvalues of two matrices."""
    count = sines_KK.shape[0]
    if count == size:
        return Angles.none(count, size)
    sin2_K = torch.linalg.eigvalsh((sines_KK + sines_KK.T) / 2).clamp(0, 1)
    cos2_K = 1 - sin2_K if cosines_KK is None else torch.linalg.eigvalsh(cosines_KK).clamp(0, 1).flip(0)
    angles_K = torch.rad2deg(torch.atan2(sin2_K.sqrt(), cos2_K.sqrt()))
    return Angles(
        largest=float(angles_K.max()),
        rms=float(angles_K.square().mean().sqrt()),
        of_chance=float(sin2_K.sum()) / (count * (1 - count / size)),
        count=count,
        size=size,
    )


def _told(told: Angles, second: Angles, first: Angles, subspace: Turned) -> Angles:
    """Return angles with their errors, which are those of the small side relative to its angles.

    They are how much the second order changed the reading, and what a further correction of the same ratio may do.
    """
    if told.of_chance is None or second.of_chance is None or first.of_chance is None or not second.rms:
        return told
    rounding = ROUNDING if subspace.second_RK.dtype == torch.float32 else 0.0
    further = math.degrees(subspace.left_over)
    largest = (abs(second.largest - first.largest) + further) / second.largest
    rms = (abs(second.rms - first.rms) + further / math.sqrt(second.count)) / second.rms
    of_chance = (
        abs(second.of_chance - first.of_chance) / second.of_chance + 2 * further / math.sqrt(second.count) / second.rms
    )
    return Angles(
        told.largest, told.rms, told.of_chance, told.count, told.size,
        largest_error=told.largest * (largest + rounding),
        rms_error=told.rms * (rms + rounding),
        of_chance_error=told.of_chance * (of_chance + 2 * rounding),
    )  # fmt: skip
