"""The balance of a run: what it took away that nobody else has, less what it put in that nobody else has.

With G from references (`holdfast.probes.interactions.agreement`) and strengths at the start as the unit::

    D  = Σ over R_t of |I_0| / ‖I_0‖₁                  removed mass
    D' = Σ over R_t of |I_0| (1 − G_0) / ‖I_0‖₁        of it, what was unreliable
    U  = Σ over E_t of |I_t| (1 − G_t) / ‖I_0‖₁        emerged mass that is unreliable
    B  = D' − U

Removing an interaction that the references have is damage, so it does not count as denoising. B is 0 at the start; it
rises while training removes more noise than it makes, and falls once it makes more.

Where to stop: the best moment so far is the one with the greatest mean B over prompts, and `past_best` is the chance,
over resampled prompts, that B now is below it. `boundary` is the step of that moment, where denoising ends, with an
interval: the same over resampled prompts.

Reference: seed 003 describes the two stages; the balance and the test are ours.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from holdfast.probes.interactions.order import strength
from holdfast.probes.interactions.sets import Sets
from holdfast.probes.interactions.transforms import Array
from holdfast.records import Estimate

DRAWS = 2_000


class Balance(NamedTuple):
    """Masses of each prompt as shares of its strength at the start, (P,); NaN where that is 0.

    Attributes:
        removed: D.
        removed_unreliable: D'.
        emerged: Σ over E_t of |I_t| / ‖I_0‖₁.
        emerged_unreliable: U.
    """

    removed: Array
    removed_unreliable: Array
    emerged: Array
    emerged_unreliable: Array

    @property
    def benefit(self) -> Array:
        """B = D' − U."""
        return self.removed_unreliable - self.emerged_unreliable

    @property
    def emerged_reliable(self) -> Array:
        """Emerged mass that the references have."""
        return self.emerged - self.emerged_unreliable


def balance(sets: Sets, *, first: Array, now: Array, reliable_first: Array, reliable_now: Array) -> Balance:
    """Return the masses of one moment.

    Args:
        sets: Of the moment.
        first, now: Interactions (P, 2, M) at the start and at the moment.
        reliable_first: G at the start of each member of its set; NaN elsewhere.
        reliable_now: G at the moment of each that counts then; NaN elsewhere.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = np.where(sets.removed != 0, np.abs(first), 0.0) / strength(first)[:, None, None]
        come = np.where(sets.emerged != 0, np.abs(now), 0.0) / strength(first)[:, None, None]
    return Balance(
        removed=gone.sum(axis=(1, 2)),
        removed_unreliable=(gone * (1.0 - np.nan_to_num(reliable_first))).sum(axis=(1, 2)),
        emerged=come.sum(axis=(1, 2)),
        emerged_unreliable=(come * (1.0 - np.nan_to_num(reliable_now))).sum(axis=(1, 2)),
    )


def best_moment(benefits: Sequence[Array]) -> int:
    """Return the number of the moment whose mean benefit is greatest; of equal ones the earliest."""
    return int(np.argmax([float(np.nanmean(benefit_P)) for benefit_P in benefits]))


def boundary(benefits: Sequence[Array], steps: Sequence[int], *, seed: int = 0) -> Estimate:
    """Return the step of the best moment, and where 95 % of bootstrap draws of whole prompts have theirs.

    Args:
        benefits: B of each prompt at every moment so far, oldest first.
        steps: Of the moments.
        seed: Of the draws.
    """
    benefits_TP = np.array(benefits)
    benefits_TP = benefits_TP[:, np.isfinite(benefits_TP).all(axis=0)]
    count = benefits_TP.shape[1]
    if not count:
        return Estimate(None, None, None, 0, 0, "cluster_bootstrap")
    drawn_DP = np.random.default_rng(seed).integers(0, count, size=(DRAWS, count))
    found_D = np.array(steps)[benefits_TP[:, drawn_DP].mean(axis=2).argmax(axis=0)]
    low, high = np.quantile(found_D, (0.025, 0.975), method="nearest")
    best = float(steps[best_moment(list(benefits_TP))])
    return Estimate(best, float(low), float(high), count, count, "cluster_bootstrap")


def reliable_ratio(now: Balance, *, seed: int = 0) -> Estimate:
    """Return what emerged and is reliable over what was removed and was not, with an interval over prompts.

    Means over prompts first, then the ratio; None where nothing unreliable was removed.
    """
    masses_2P = np.array([now.emerged_reliable, now.removed_unreliable])
    masses_2P = masses_2P[:, np.isfinite(masses_2P).all(axis=0)]
    count = masses_2P.shape[1]
    if not count or masses_2P[1].sum() <= 0:
        return Estimate(None, None, None, count, count, "cluster_bootstrap")
    drawn_DP = np.random.default_rng(seed).integers(0, count, size=(DRAWS, count))
    over_D, under_D = masses_2P[:, drawn_DP].mean(axis=2)
    if (under_D <= 0).any():  # other prompts might have lost nothing: there is no upper end
        low = float(np.quantile(over_D[under_D > 0] / under_D[under_D > 0], 0.025))
        high = None
    else:
        low, high = (float(end) for end in np.quantile(over_D / under_D, (0.025, 0.975)))
    value = float(masses_2P[0].mean() / masses_2P[1].mean())
    return Estimate(value, low, high, count, count, "cluster_bootstrap")


def past_best(benefits: Sequence[Array], *, margin: float = 0.0, seed: int = 0) -> float:
    """Return the chance, over bootstrap draws of whole prompts, that the last moment is worse than the best so far.

    Args:
        benefits: B of each prompt at every moment so far, oldest first.
        margin: How much worse counts as worse.
        seed: Of the draws.
    """
    best = best_moment(benefits)
    worse_P = benefits[best] - benefits[-1] - margin
    worse_P = worse_P[np.isfinite(worse_P)]
    if best == len(benefits) - 1 or not len(worse_P):
        return 0.0
    generator = np.random.default_rng(seed)
    drawn_DP = worse_P[generator.integers(0, len(worse_P), size=(DRAWS, len(worse_P)))]
    return float((drawn_DP.mean(1) > 0).mean())
