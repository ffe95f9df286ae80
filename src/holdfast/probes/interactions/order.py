"""How many words an interaction takes: its order, and how strength is spread over orders.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets of n players, ``K`` = n orders from 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.probes.interactions.transforms import Array, orders, players_of

HIGH = 2 / 3
"""An interaction of more than this share of the players is of high order."""


class ByOrder(NamedTuple):
    """Strength of each order, (P, K): of interactions that add to the output, and, negative, of those that take off."""

    positive: Array
    negative: Array

    @property
    def total(self) -> Array:
        """Σ |I| of each order, (P, K)."""
        return self.positive - self.negative


def by_order(interactions_P2M: Array) -> ByOrder:
    """Return the strength of each order from 1 to n, AND and OR together."""
    n = players_of(interactions_P2M)
    belongs_KM = (orders(n) == np.arange(1, n + 1)[:, None]).astype(np.float64)
    parts = [np.maximum(interactions_P2M, 0.0), np.minimum(interactions_P2M, 0.0)]
    return ByOrder(*(part.sum(1) @ belongs_KM.T for part in parts))


def strength(interactions_P2M: Array) -> Array:
    """Return Σ |I| of each prompt, (P,)."""
    total: Array = np.abs(interactions_P2M).sum(axis=(1, 2))
    return total


def high_order_share(interactions_P2M: Array) -> Array:
    """Return the share of strength in orders above `HIGH` · n, (P,); NaN where there is no strength."""
    n = players_of(interactions_P2M)
    return _share(interactions_P2M, orders(n) > HIGH * n)


def thirds(interactions_P2M: Array) -> Array:
    """Return the shares of strength in low, middle and high orders, (P, 3): up to n/3, up to 2n/3, above."""
    n = players_of(interactions_P2M)
    size_M = orders(n)
    return np.stack(
        [
            _share(interactions_P2M, kept_M)
            for kept_M in (3 * size_M <= n, (3 * size_M > n) & (size_M <= HIGH * n), size_M > HIGH * n)
        ],
        axis=1,
    )


def mean_order(interactions_P2M: Array) -> Array:
    """Return the mean order, weighted by strength, (P,); NaN where there is no strength."""
    size_M = orders(players_of(interactions_P2M)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Array = (np.abs(interactions_P2M).sum(1) * size_M).sum(1) / strength(interactions_P2M)
    return mean


def _share(interactions_P2M: Array, kept_M: NDArray[np.bool_]) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = np.abs(interactions_P2M[..., kept_M]).sum(axis=(1, 2)) / strength(interactions_P2M)
    return share
