"""Fast transforms over the subsets of n players: sums over subsets, over supersets, and their inverses.

Subset S is the number whose bit i says whether player i is in it, so an array over all subsets has M = 2^n entries,
the empty set first and all players last. Each transform goes over the n bits once, O(n 2^n), on any number of leading
dimensions, in float64.

With I_and and I_or as in the papers, for a part of the outputs each::

    I_and(T) =   Σ over L ⊆ T of (−1)^(|T|−|L|) v_and(L)
    I_or(T)  = − Σ over L ⊆ T of (−1)^(|T|−|L|) v_or(N \\ L)          T not empty
    v(S)     = v(∅) + Σ over T ⊆ S of I_and(T) + Σ over T ∩ S ≠ ∅ of I_or(T)

The last line holds for *any* way of parting v into v_and + v_or: it is an identity, not evidence that anything was
explained. What can be right or wrong is how few interactions it takes (`holdfast.probes.interactions.split`).

Reference: Li and Zhang 2023 (arXiv 2304.13312). Written from the formulas.

Shapes: ``M`` subsets of n players; ``...`` any leading dimensions.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_PLAYERS = 12
"""2^12 outputs a prompt, and matrices of that side in the split: beyond, other methods are needed."""


def players_of(values_M: Array) -> int:
    """Return n of an array over all subsets of n players.

    Raises:
        ValueError: its last dimension is no power of 2.
    """
    count = int(values_M.shape[-1])
    n = count.bit_length() - 1
    if count != 1 << n:
        raise ValueError(f"{count} values are not one for each subset of some players: 1, 2, 4, 8, …")
    return n


@cache
def orders(n: int) -> NDArray[np.int64]:
    """Return the number of players in each subset, shape (2^n,).

    Example:
        >>> orders(2).tolist()
        [0, 1, 1, 2]
    """
    counted = np.zeros(1, dtype=np.int64)
    for _ in range(n):
        counted = np.concatenate([counted, counted + 1])
    counted.flags.writeable = False
    return counted


def zeta(values_M: Array) -> Array:
    """Return Σ over L ⊆ S of values(L) for every S, shape (..., M)."""
    return _over_bits(values_M, 1, 0, 1.0)


def moebius(values_M: Array) -> Array:
    """Return Σ over L ⊆ S of (−1)^(|S|−|L|) values(L): the inverse of `zeta`, and I_and of the outputs.

    Example:
        >>> moebius(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    return _over_bits(values_M, 1, 0, -1.0)


def upward_zeta(values_M: Array) -> Array:
    """Return Σ over T ⊇ S of values(T) for every S, shape (..., M)."""
    return _over_bits(values_M, 0, 1, 1.0)


def upward_moebius(values_M: Array) -> Array:
    """Return the inverse of `upward_zeta`."""
    return _over_bits(values_M, 0, 1, -1.0)


def or_interactions(values_M: Array) -> Array:
    """Return I_or of outputs, shape (..., M); 0 for the empty set.

    It is I_and of the game in which masked and unmasked trade places, with the sign turned.
    """
    found = -moebius(np.asarray(values_M, dtype=np.float64)[..., ::-1])
    found[..., 0] = 0.0
    return found


def outputs_of(and_M: Array, or_M: Array) -> Array:
    """Return v(S) − v(∅) of a model that has exactly these interactions, shape (..., M).

    Args:
        and_M: Each counts once all of its players are there; the entry of the empty set must be 0.
        or_M: Each counts once any of its players is there; likewise.
    """
    met = zeta(or_M)
    return zeta(and_M) + (met[..., -1:] - met[..., ::-1])


def atoms_at(weights_M: Array) -> tuple[Array, Array]:
    """Return the transpose of `outputs_of`: Σ of weights(S) over the S in which each AND, and each OR, counts."""
    below = zeta(weights_M)
    return upward_zeta(weights_M), below[..., -1:] - below[..., ::-1]


def shapley(and_M: Array) -> Array:
    """Return the Shapley value of each player, shape (..., n): every interaction shared equally by its players.

    Args:
        and_M: AND interactions of the whole game (`moebius` of its outputs).
    """
    n = players_of(and_M)
    shares = and_M / np.maximum(orders(n), 1)
    members = (np.arange(1 << n) >> np.arange(n)[:, None]) & 1
    return shares @ members.T.astype(np.float64)


def _over_bits(values_M: Array, into: int, source: int, sign: float) -> Array:
    n = players_of(values_M)
    done = np.array(values_M, dtype=np.float64, order="C")
    for bit in range(n):
        halves = done.reshape(*done.shape[:-1], -1, 2, 1 << bit)
        halves[..., into, :] += sign * halves[..., source, :]
    return done
