"""Everything of one matrix, by the road that suits it.

Exact, from the singular system of the tuned matrix: where the smaller side is at most `EXACT_UP_TO`, where the update
is larger than `FIRST_ORDER_UP_TO` of the base (first order no longer holds), or on request. Otherwise from the update
in base coordinates, with an error beside each number that is not exact. Bit-identical matrices are not measured: every
number is exactly 0.

Cost for R × N, R <= N, with the base's factors at hand: the first-order road takes about 4 R² N + 4 R³ operations in
float32 plus those of a randomized 64-column range finder; the exact one two symmetric eigenproblems of size R (D and
W_tuned) in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from holdfast.report.spectral_readings import Angles, EnergySplit, MatrixReading, Road, Rotation, Unchanged, ValueShift
from holdfast.spectral.against import against
from holdfast.spectral.bands import bands
from holdfast.spectral.coordinates import Coordinates, in_base
from holdfast.spectral.counts import count_of
from holdfast.spectral.energy import energy_split
from holdfast.spectral.intruders import intruders
from holdfast.spectral.rotation import exact_rotation, first_order_rotation
from holdfast.spectral.sparsity import unchanged
from holdfast.spectral.spectrum import EXACT_UP_TO, exact_spectrum, leading_spectrum
from holdfast.spectral.turning import Ends
from holdfast.spectral.update import Update
from holdfast.spectral.values import exact_shift, second_order_shift

__all__ = ["EXACT_UP_TO", "FIRST_ORDER_UP_TO", "Matrix", "measure", "untouched"]

FIRST_ORDER_UP_TO = 0.02


@dataclass(frozen=True)
class Matrix:
    """Where a matrix stands; only told again in its reading.

    Attributes:
        name, role, layer, in_block: See `MatrixReading`.
    """

    name: str = ""
    role: str | None = None
    layer: int | None = None
    in_block: bool = True


def measure(
    update: Update,
    *,
    matrix: Matrix = Matrix(),
    k: float | int = 0.2,
    exact: bool = False,
    with_bands: bool = False,
    other: Update | None = None,
) -> MatrixReading:
    """Measure one matrix.

    Args:
        update: What training did to it.
        matrix: Where it stands.
        k: Directions at either end: a share of min(M, N) in (0, 1], or a number.
        exact: Take the exact road whatever the size.
        with_bands: Whether ten bands and their null are measured, at twice the cost.
        other: Another update of the same base to compare with.

    Raises:
        ValueError: a weight is NaN or infinite.
    """
    rows, columns = update.base_MN.shape
    count = count_of(k, update.rank)
    ends = [Ends.of(count, update.rank), Ends.of(count, update.rank, last=True)]
    small = update.rank <= EXACT_UP_TO
    dtype = torch.float64 if small else None
    found = in_base(update, columns=[] if small or exact else [end.near for end in ends], dtype=dtype)
    base_norm, norm = found.base_energy**0.5, found.energy**0.5
    if not math.isfinite(norm):
        raise ValueError("the tuned matrix holds NaN or infinity")
    compared = None if other is None else against(update, other, k=k)
    if not norm:
        return replace(untouched(rows, columns, matrix=matrix, k=count, base_norm=base_norm), against=compared)
    road: Road = "exact" if exact or small or norm > FIRST_ORDER_UP_TO * base_norm else "first_order"
    top, bottom = _rotations(update, found, ends, road) if base_norm else (None, None)
    return MatrixReading(
        **vars(matrix),
        rows=rows,
        columns=columns,
        road=road,
        count=count,
        base_norm=base_norm,
        norm=norm,
        top=top,
        bottom=bottom,
        values=exact_shift(update) if road == "exact" else second_order_shift(found),
        energy=energy_split(found, count),
        spectrum=exact_spectrum(update) if small or exact else leading_spectrum(update, energy=found.energy),
        unchanged=unchanged(update.base_MN, update.tuned_MN),
        intruders=len(intruders(update)) if road == "exact" and base_norm else None,
        bands=bands(update, found, exact=road == "exact") if with_bands and base_norm else None,
        against=compared,
    )


def untouched(rows: int, columns: int, *, matrix: Matrix, k: float | int, base_norm: float) -> MatrixReading:
    """Return the reading of a matrix that is bit-identical in both models: 0 throughout, exactly."""
    count = count_of(k, min(rows, columns))
    turned = Rotation(Angles.none(count, rows), Angles.none(count, columns)) if base_norm else None
    return MatrixReading(
        **vars(matrix),
        rows=rows,
        columns=columns,
        road="identical",
        count=count,
        base_norm=base_norm,
        norm=0.0,
        top=turned,
        bottom=turned,
        values=ValueShift(0.0, 0.0, 0.0) if base_norm else None,
        energy=EnergySplit(0.0, 0.0, 0.0, 0.0, 0.0, count, rows, columns),
        spectrum=None,
        unchanged=Unchanged(1.0, 1.0, 1.0, 1.0),
        intruders=0,
    )


def _rotations(update: Update, found: Coordinates, ends: list[Ends], road: Road) -> tuple[Rotation, Rotation]:
    if road == "exact":
        return exact_rotation(update, ends[0].own), exact_rotation(update, ends[1].own)
    return first_order_rotation(found, ends[0]), first_order_rotation(found, ends[1])
