"""Which interactions count: larger than a share of the largest, and than what noise alone would make.

Noise of standard deviation σ in each output becomes 2^(|T|/2) σ in a Möbius coefficient of order |T|, so that in half
precision high orders look full of interactions that nobody put there. A threshold is therefore::

    τ_T = max(0.05 · max |I|, 3 σ 2^(|T|/2))

and it is set once, at the start of a run. An interaction that counts goes on counting until it falls below τ/2, so
that one at the threshold does not come and go (hysteresis); one whose sign turns is gone, and another has come.

Reference: 5 % as in the program of Ren et al. 2024 (ICLR); the rest is ours.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets of n players.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.probes.interactions.transforms import Array, orders, outputs_of, players_of

SHARE = 0.05
"""Of the largest interaction of a prompt."""
NOISE = 3.0
"""Standard deviations of what noise makes of an interaction."""
LEAVES_AT = 0.5
"""Share of the threshold below which what counted counts no longer."""

Signs = NDArray[np.int8]
"""1 or −1 where an interaction counts, by its sign; 0 where it does not."""


def thresholds(interactions_P2M: Array, noise_P: Array) -> Array:
    """Return τ of each interaction, shape (P, 2, M).

    Args:
        interactions_P2M: At the start of a run, or of the one model there is.
        noise_P: Standard deviation of each prompt's outputs (`holdfast.probes.interactions.noise`).
    """
    largest_P = np.abs(interactions_P2M).max(axis=(1, 2))
    floor_PM = NOISE * noise_P[:, None] * 2.0 ** (orders(players_of(interactions_P2M)) / 2)
    least_PM = np.maximum(SHARE * largest_P[:, None], floor_PM)
    return np.broadcast_to(least_PM[:, None], interactions_P2M.shape)


def salient(interactions_P2M: Array, threshold_P2M: Array, before: Signs | None = None) -> Signs:
    """Return which interactions count.

    Args:
        interactions_P2M: Now.
        threshold_P2M: τ.
        before: What counted at the moment before; it leaves at `LEAVES_AT` · τ. None at the first.
    """
    signs = np.sign(interactions_P2M).astype(np.int8)
    size = np.abs(interactions_P2M)
    counts = (size >= threshold_P2M) & (size > 0)
    if before is not None:
        counts |= (before == signs) & (before != 0) & (size >= LEAVES_AT * threshold_P2M)
    return np.where(counts, signs, np.int8(0))


def sparsity(signs: Signs) -> Array:
    """Return how many interactions count as a share of 2^n, shape (P,): the papers count against masks, so can we."""
    share: Array = (signs != 0).sum(axis=(1, 2)) / signs.shape[-1]
    return share


def fit(values_PM: Array, interactions_P2M: Array, signs: Signs) -> Array:
    """Return how well the interactions that count explain the outputs of all masks, alone: R², shape (P,).

    1 is perfect, 0 no better than one number for all masks; it may be negative. With *all* interactions it is 1 up to
    the tolerance by construction, which says nothing; this one can fail. NaN where all outputs are equal.
    """
    kept = np.where(signs != 0, interactions_P2M, 0.0)
    told_PM = values_PM[:, :1] + outputs_of(kept[:, 0], kept[:, 1])
    spread_P = ((values_PM - values_PM.mean(1, keepdims=True)) ** 2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained: Array = 1.0 - ((values_PM - told_PM) ** 2).sum(1) / spread_P
    return np.where(spread_P > 0, explained, np.nan)


def rises_with_words(values_PM: Array) -> NDArray[np.bool_]:
    """Return of each prompt whether the mean output rises with the number of words that are there.

    It is the second condition under which few interactions are *proved* to suffice (Ren et al. 2024); where it does not
    hold, sparsity is a finding and not a theorem.
    """
    n = players_of(values_PM)
    size_M = orders(n)
    means_PK = np.stack([values_PM[:, size_M == size].mean(1) for size in range(n + 1)], axis=1)
    return np.asarray((np.diff(means_PK, axis=1) >= 0).all(axis=1), dtype=np.bool_)
