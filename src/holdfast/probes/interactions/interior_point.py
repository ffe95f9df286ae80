"""The linear program of the AND–OR split by a primal–dual interior-point method (Mehrotra 1992), from a feasible start.

With A = [Z O], x = (a, b) and s = u − A x::

    primal   min  w·|x|                such that  |s| <= δ
    dual     max  y·u − δ ‖y‖₁          such that  |Aᵀ y| <= w

x is parted into x⁺ − x⁻ and the room for s into e⁺ = δ − s and e⁻ = δ + s; their multipliers are w ∓ Aᵀy and m±, with
y = m⁺ − m⁻. The start a = moebius(u), b = 0, y = 0 is feasible on both sides, and so is every later point, so that the
sum of the products of variables and multipliers *is* the gap.

Each round solves (A D Aᵀ + E) Δy = r for diagonal D, E > 0. Neither A nor the product is ever made: after a Möbius
transform of rows, with signs (−1)^|L|, its entries are sums of positive terms that depend on two sets by their union
and their intersection alone::

    H[L, K] = D_and[L] · 1(L = K)  +  Σ over T ⊇ L ∪ K of D_or[T]  +  Σ over S ⊆ L ∩ K of E[S]

so that they cost two transforms and two look-ups, and nothing cancels however far D is spread.

Shapes: ``M`` subsets of n players, ``2`` the two signs of a variable, ``V`` all pairs of variable and multiplier.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from holdfast.probes.interactions.transforms import (
    Array,
    atoms_at,
    moebius,
    orders,
    players_of,
    upward_moebius,
    upward_zeta,
    zeta,
)

MOST_ROUNDS = 100
SHORT_OF_BORDER = 0.995
"""Share of the way to the border that a step goes."""
LEAST_TOLERANCE = 1e-9
"""δ as a share of the largest output below which the inside of the box would be lost to rounding."""


class Solution(NamedTuple):
    """Where the method ended.

    Attributes:
        atoms_2M: AND interactions, then OR interactions.
        objective: w·|x|, in units of the outputs.
        gap: (objective − a lower bound) / objective; 0 if all is 0.
        rounds: Rounds it took.
    """

    atoms_2M: Array
    objective: float
    gap: float
    rounds: int


class _Pairs(NamedTuple):
    """Variables, or multipliers, or a direction for either: those of AND, of OR, and of the box, each (2, M).

    Entries of the empty set, and of OR with one player, are no variables; they hold 1 in points and 0 in directions.
    """

    and_: Array
    or_: Array
    box: Array

    def plus(self, step: float, direction: _Pairs) -> _Pairs:
        return _Pairs(*(mine + step * theirs for mine, theirs in zip(self, direction, strict=True)))

    def reach(self, direction: _Pairs) -> float:
        """Return the share of ``direction``, at most 1, at which the first entry would be 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = max(float((-d / x).max()) for x, d in zip(self, direction, strict=True))
        return 1.0 if worst <= 1.0 else 1.0 / worst


class _Fixed(NamedTuple):
    """What n players have in common: signs (−1)^|L|, which entries are variables, and unions and intersections."""

    n: int
    sign_M: Array
    free: _Pairs
    union_MM: NDArray[np.intp]
    common_MM: NDArray[np.intp]

    @property
    def pairs(self) -> float:
        return float(sum(part.sum() for part in self.free))


def solve(wanted_M: Array, tolerance: float, weights_M: Array, *, gap: float) -> Solution:
    """Return interactions whose weighted strength is least; see the module.

    Args:
        wanted_M: u, 0 at the empty set.
        tolerance: δ >= 0; what is below `LEAST_TOLERANCE` of the largest output is taken for that.
        weights_M: w by subset, positive.
        gap: Relative gap at which to end.
    """
    largest = float(np.abs(wanted_M).max())
    if largest == 0.0:
        return Solution(np.zeros((2, len(wanted_M))), 0.0, 0.0, 0)
    scaled_M, delta = wanted_M / largest, max(tolerance / largest, LEAST_TOLERANCE)
    fixed = _fixed(players_of(wanted_M))
    point, slopes = _start(scaled_M, delta, weights_M, fixed)
    dual_M = np.zeros_like(scaled_M)
    rounds = 0
    for rounds in range(1, MOST_ROUNDS + 1):  # noqa: B007  (read after the loop)
        left = _gap(point, slopes, fixed)
        if left <= gap / 2 * float(((point.and_ + point.or_) * weights_M)[:, 1:].sum()):
            break
        moved = _round(point, slopes, left / fixed.pairs, fixed)
        if moved is None:  # rounding has eaten the matrix: what was found so far is judged by its certified gap
            break
        point, slopes, turn_M = moved
        dual_M = dual_M + turn_M
    atoms_2M = np.stack(
        [(pair * free)[0] - (pair * free)[1] for pair, free in zip(point[:2], fixed.free, strict=False)]
    )
    return _judged(atoms_2M * largest, dual_M, wanted_M, delta * largest, weights_M, rounds)


def _judged(atoms_2M: Array, dual_M: Array, wanted_M: Array, delta: float, weights_M: Array, rounds: int) -> Solution:
    """Judge by the primal and dual solutions themselves, not by what the method thinks of them."""
    objective = float((np.abs(atoms_2M) * weights_M).sum())
    at_and_M, at_or_M = atoms_at(dual_M)
    many_M = orders(players_of(wanted_M)) > 1
    beyond = max(
        1.0,
        float((np.abs(at_and_M) / weights_M)[1:].max()),
        float((np.abs(at_or_M) / weights_M)[many_M].max(initial=0)),
    )
    bound = float((dual_M * wanted_M).sum() - delta * np.abs(dual_M).sum()) / beyond
    left = objective - bound
    return Solution(atoms_2M, objective, max(0.0, left) / objective if objective else 0.0, rounds)


@cache
def _fixed(n: int) -> _Fixed:
    subsets = np.arange(1 << n)
    some, many = subsets > 0, orders(n) > 1
    pair = [np.tile(kept.astype(np.float64), (2, 1)) for kept in (some, many, some)]
    lots = subsets[1:]
    return _Fixed(n, np.where(orders(n) % 2, -1.0, 1.0), _Pairs(*pair), lots[:, None] | lots, lots[:, None] & lots)


def _start(scaled_M: Array, delta: float, weights_M: Array, fixed: _Fixed) -> tuple[_Pairs, _Pairs]:
    and_M = moebius(scaled_M)
    room = max(float(np.abs(and_M).mean()), 1e-3)
    and_2M = np.stack([np.maximum(and_M, 0.0), np.maximum(-and_M, 0.0)]) + room
    point = _Pairs(and_2M, np.full_like(and_2M, room), np.full_like(and_2M, delta))
    slope_2M = np.stack([weights_M, weights_M])
    slopes = _Pairs(slope_2M, slope_2M, np.full_like(and_2M, room / delta))
    ones = [
        _Pairs(*(np.where(free > 0, x, 1.0) for x, free in zip(pairs, fixed.free, strict=True)))
        for pairs in (point, slopes)
    ]
    return ones[0], ones[1]


def _gap(point: _Pairs, slopes: _Pairs, fixed: _Fixed) -> float:
    return float(sum((x * m * free).sum() for x, m, free in zip(point, slopes, fixed.free, strict=True)))


def _round(point: _Pairs, slopes: _Pairs, mean: float, fixed: _Fixed) -> tuple[_Pairs, _Pairs, Array] | None:
    """Take one step towards the optimum: look where the border lies, then aim beside it and correct the curve."""
    try:
        system = _System.of(point, slopes, fixed)
    except LinAlgError:
        return None
    products = _Pairs(*(x * m for x, m in zip(point, slopes, strict=True)))
    ahead, ahead_slopes, _ = system.direction(_Pairs(*(-product for product in products)))
    far, far_slopes = point.reach(ahead), slopes.reach(ahead_slopes)
    after = _gap(point.plus(far, ahead), slopes.plus(far_slopes, ahead_slopes), fixed) / fixed.pairs
    aim = mean * (after / mean) ** 3
    curved = zip(products, ahead, ahead_slopes, strict=True)
    step, step_slopes, turn_M = system.direction(_Pairs(*(aim - product - one * two for product, one, two in curved)))
    far, far_slopes = (min(1.0, SHORT_OF_BORDER * x.reach(d)) for x, d in ((point, step), (slopes, step_slopes)))
    return point.plus(far, step), slopes.plus(far_slopes, step_slopes), far_slopes * turn_M


class _System(NamedTuple):
    """The equations of one round, factorized."""

    point: _Pairs
    slopes: _Pairs
    fixed: _Fixed
    factor: tuple[Array, bool]
    stiffness_M: Array

    @classmethod
    def of(cls, point: _Pairs, slopes: _Pairs, fixed: _Fixed) -> _System:
        loose = _Pairs(*((x / m * free) for x, m, free in zip(point, slopes, fixed.free, strict=True)))
        stiffness_M = (slopes.box / point.box).sum(0)
        give_M = fixed.free.box[0] / stiffness_M
        matrix_MM = upward_zeta(loose.or_.sum(0)).take(fixed.union_MM)
        matrix_MM += zeta(give_M).take(fixed.common_MM)
        np.einsum("ii->i", matrix_MM)[:] += loose.and_.sum(0)[1:]
        return cls(
            point, slopes, fixed, cho_factor(matrix_MM, lower=True, overwrite_a=True, check_finite=False), stiffness_M
        )

    def direction(self, residual: _Pairs) -> tuple[_Pairs, _Pairs, Array]:
        """Return the changes of point, multipliers and y at which each product changes by ``residual``.

        To first order, x Δm + m Δx = r for each pair; multipliers follow y (Δm± = ∓ Aᵀ Δy), the box follows s, and
        A Δx + Δs = 0 keeps the point feasible. What is left when Δx and Δs are put in is one system in Δy; it is
        written for the transform of its rows, from which Δy and its sums over the atoms (``pulls``) are taken back.
        """
        point, slopes, fixed = self.point, self.slopes, self.fixed
        and_M, or_M = (
            (r[0] / m[0] - r[1] / m[1]) * free[0]
            for r, m, free in zip(residual[:2], slopes[:2], fixed.free[:2], strict=True)
        )
        box_M = (residual.box[0] / point.box[0] - residual.box[1] / point.box[1]) * fixed.free.box[0]
        right_M = upward_zeta(or_M) + fixed.sign_M * (moebius(box_M / self.stiffness_M) - and_M)
        found_M = np.zeros_like(right_M)
        found_M[1:] = cho_solve(self.factor, right_M[1:], check_finite=False)
        turn_M = upward_moebius(fixed.sign_M * found_M)
        turn_M[0] = 0.0
        pulls = (fixed.sign_M * found_M, -zeta(found_M))
        steps, bends = [], []
        for pull_M, x, m, r, free in zip(pulls, point, slopes, residual, fixed.free, strict=False):
            bend_2M = np.stack([-pull_M, pull_M]) * free
            steps.append((r - x * bend_2M) / m * free)
            bends.append(bend_2M)
        shift_M = (turn_M - box_M) / self.stiffness_M * fixed.free.box[0]
        step_2M = np.stack([-shift_M, shift_M])
        bend_2M = (residual.box - slopes.box * step_2M) / point.box * fixed.free.box
        return _Pairs(steps[0], steps[1], step_2M), _Pairs(bends[0], bends[1], bend_2M), turn_M
