"""Whether interactions pull one way or cancel: ρ = |Σ I| / Σ |I|, beside what random signs would give.

Of K interactions of equal strength with random signs ρ is about 0.8 / √K, not 0: 0.35 for 10 and 0.11 for 100. A large
set therefore looks as if it cancelled. ρ is also given with that floor taken off, ρ̃ = (ρ − ρ₀) / (1 − ρ₀): 0 for random
signs, 1 if all pull one way, negative if they cancel more than by chance.

Reference: ρ as a note on arXiv 2605.17967 has it; the floor is ours.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets, ``D`` draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from holdfast.probes.interactions.transforms import Array

DRAWS = 256


class Cancellation(NamedTuple):
    """Of each prompt, (P,); NaN where the set is empty.

    Attributes:
        rho: |Σ I| / Σ |I|.
        floor: The mean of it with random signs.
        corrected: (ρ − floor) / (1 − floor); NaN where one interaction makes up the set, whose ρ is 1 by necessity.
    """

    rho: Array
    floor: Array
    corrected: Array


def cancellation(interactions_P2M: Array, *, seed: int = 0) -> Cancellation:
    """Return ρ of the interactions given; those outside the set are 0.

    Args:
        interactions_P2M: AND and OR together.
        seed: Of the random signs.
    """
    generator = np.random.default_rng(seed)
    flat_PX = interactions_P2M.reshape(len(interactions_P2M), -1)
    floors = []
    for one_X in flat_PX:
        kept = np.abs(one_X[one_X != 0])
        signs_DX = generator.integers(0, 2, size=(DRAWS, len(kept))) * 2.0 - 1.0
        floors.append(np.abs(signs_DX @ kept).mean() if len(kept) else np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        total_P = np.abs(flat_PX).sum(1)
        rho_P, floor_P = np.abs(flat_PX.sum(1)) / total_P, np.array(floors).reshape(-1) / total_P
        corrected_P = np.where(1.0 - floor_P > 1e-9, (rho_P - floor_P) / (1.0 - floor_P), np.nan)
    return Cancellation(rho_P, floor_P, corrected_P)


def evidence(values_PM: Array, interactions_P2M: Array) -> Array:
    """Return |v(N) − v(∅)| / ‖I‖₁ of each prompt, (P,): the net evidence of the words as a share of what they say.

    Since the interactions sum to v(N) − v(∅), this is ρ of all of them together, but for the split's tolerance.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = np.abs(values_PM[:, -1] - values_PM[:, 0]) / np.abs(interactions_P2M).sum(axis=(1, 2))
    return share


def cancelled(interactions_P2M: Array) -> Array:
    """Return Σ |I| − |Σ I| of each prompt, (P,): the strength that comes to nothing."""
    flat_PX = interactions_P2M.reshape(len(interactions_P2M), -1)
    lost: Array = np.abs(flat_PX).sum(1) - np.abs(flat_PX.sum(1))
    return lost
