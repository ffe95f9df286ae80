"""Outputs of all masks parted into the fewest AND and OR interactions that explain them within a tolerance.

The papers choose v_and and v_or, and a small error e, such that ‖I_and‖₁ + ‖I_or‖₁ is least, by 20,000 to 50,000
steps of gradient descent. Written over the interactions themselves it is a linear program::

    min  Σ w_T |a_T| + Σ w_T |b_T|      such that      |Z a + O b − u| <= δ  at every mask

with u = v − v(∅), Z and O the 0/1 matrices of `holdfast.probes.interactions.transforms.outputs_of`. So there are no
local minima: solutions that differ between runs of a descent were not solutions yet. Here an interior-point method
(`holdfast.probes.interactions.interior_point`) goes to the optimum and says how near it came.

What cannot be told apart is settled: the empty set has no interaction, and an OR of one player is an AND of one, so
order 1 is AND. Among solutions of equal strength those of lower order win (`TIE`).

Reference: Li and Zhang 2023 (arXiv 2304.13312) and Chen et al. 2024 (arXiv 2401.16318), from the formulas. We differ:
the optimum instead of a number of steps, weights that break ties, and a tolerance that knows the outputs' noise.

Shapes: ``P`` prompts, ``M`` subsets of n players.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.probes.interactions.interior_point import solve
from holdfast.probes.interactions.transforms import MOST_PLAYERS, Array, orders, outputs_of, players_of

TOLERANCE = 0.02
"""Share q of |v(N) − v(∅)| that the split may leave unexplained at any mask (the papers' programs: 0.02 and 0.04)."""
NOISE = 2.0
"""Standard deviations of the outputs' noise that it may leave unexplained whatever q allows."""
TIE = 1e-4
"""An interaction of order k costs 1 + TIE · k: of two solutions of the same strength the one of lower order is taken.
With 8 players that moves the strength by 0.08 % at most."""


@dataclass(frozen=True)
class Split:
    """Interactions of some prompts, and how good they are.

    Attributes:
        and_PM, or_PM: Interactions by subset; 0 for the empty set, and OR for single players.
        tolerance_P: δ.
        residual_P: Largest |Z a + O b − u| over masks; at most δ, but for rounding.
        objective_P: Σ w (|a| + |b|), in units of the outputs.
        gap_P: How far the objective is from the optimum at most, as a share of it, by a dual solution: a proof, not an
            estimate.
        rounds_P: Rounds of the method.
    """

    and_PM: Array
    or_PM: Array
    tolerance_P: Array
    residual_P: Array
    objective_P: Array
    gap_P: Array
    rounds_P: Array

    @property
    def strength(self) -> Array:
        """‖I_and‖₁ + ‖I_or‖₁ of each prompt, (P,)."""
        total: Array = np.abs(self.and_PM).sum(1) + np.abs(self.or_PM).sum(1)
        return total


def tolerance(values_PM: Array, *, share: float = TOLERANCE, noise_P: Array | float = 0.0) -> Array:
    """Return δ = max(share · |v(N) − v(∅)|, `NOISE` · noise) of each prompt, shape (P,).

    Args:
        values_PM: Outputs.
        share: q; 0 explains every output exactly, but for noise.
        noise_P: Standard deviation of the outputs that is not the model's doing.
    """
    reach_P = np.abs(values_PM[:, -1] - values_PM[:, 0])
    floor_P: Array = np.maximum(share * reach_P, NOISE * np.asarray(noise_P, dtype=np.float64))
    return floor_P


def split(values_PM: Array, tolerance_P: Array, *, tie: float = TIE, gap: float = 1e-5) -> Split:
    """Return the sparsest AND and OR interactions of outputs.

    Cost: about 15 rounds a prompt, each a Cholesky factorization of a matrix of side 2^n: 13 ms a prompt at n = 8 on
    one core of a CPU, 0.3 s at n = 10.

    Args:
        values_PM: Outputs of all masks, finite; what they are without any player is taken off.
        tolerance_P: δ of each prompt, at least 0 (`tolerance`).
        tie: See `TIE`; 0 for the plain objective.
        gap: Relative optimality gap at which a prompt is done.

    Raises:
        ValueError: outputs are not finite, or of more players than `MOST_PLAYERS`.
    """
    n = players_of(values_PM)
    if n > MOST_PLAYERS:
        raise ValueError(f"the split of {n} players needs matrices of side {1 << n}; use at most {MOST_PLAYERS}")
    if not np.isfinite(values_PM).all():
        raise ValueError("outputs hold NaN or infinity: no interactions can be told")
    wanted_PM = values_PM - values_PM[:, :1]
    weights_M: Array = 1.0 + tie * orders(n).astype(np.float64)
    found = [solve(u_M, float(delta), weights_M, gap=gap) for u_M, delta in zip(wanted_PM, tolerance_P, strict=True)]
    and_PM, or_PM = (np.array([one.atoms_2M[kind] for one in found]).reshape(len(found), -1) for kind in (0, 1))
    apart_PM = outputs_of(and_PM, or_PM) - wanted_PM
    return Split(
        and_PM=and_PM,
        or_PM=or_PM,
        tolerance_P=np.asarray(tolerance_P, dtype=np.float64),
        residual_P=np.abs(apart_PM).max(axis=1, initial=0.0),
        objective_P=np.array([one.objective for one in found]),
        gap_P=np.array([one.gap for one in found]),
        rounds_P=np.array([one.rounds for one in found], dtype=np.float64),
    )
