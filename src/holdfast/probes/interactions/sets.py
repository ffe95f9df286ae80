"""What became of a run's interactions: preserved, emerged, removed.

With Ω_t the interactions that count at moment t (`holdfast.probes.interactions.salience`)::

    P_0 = Ω_0     P_t = P_{t−1} ∩ Ω_t     E_t = Ω_t \\ P_t     R_t = Ω_0 \\ Ω_t

An interaction is its kind, its words and its sign: one whose sign turns is removed, and another emerges. One that went
and came back is among the emerged, since nothing tells it from an accident.

Reference: as a note on arXiv 2605.17967 has them; thresholds with hysteresis are ours.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from holdfast.probes.interactions.salience import Signs, salient
from holdfast.probes.interactions.transforms import Array


class Sets(NamedTuple):
    """At one moment, each (P, 2, M): the sign where an interaction belongs, 0 where not."""

    start: Signs
    now: Signs
    preserved: Signs
    emerged: Signs
    removed: Signs


def follow(history: Sequence[Array], threshold_P2M: Array) -> list[Sets]:
    """Return the sets of every moment.

    Args:
        history: Interactions (P, 2, M) of each moment, of the same prompts and players, oldest first.
        threshold_P2M: Set at the start, `holdfast.probes.interactions.salience.thresholds`.

    Raises:
        ValueError: moments differ in shape.
    """
    found: list[Sets] = []
    for interactions_P2M in history:
        if interactions_P2M.shape != threshold_P2M.shape:
            raise ValueError(
                f"a moment has interactions of shape {interactions_P2M.shape}, the first {threshold_P2M.shape}"
            )
        now = salient(interactions_P2M, threshold_P2M, found[-1].now if found else None)
        start = found[0].start if found else now
        preserved = _common(found[-1].preserved, now) if found else now
        emerged, removed = (_without(one, other) for one, other in ((now, preserved), (start, now)))
        found.append(Sets(start, now, preserved, emerged, removed))
    return found


def turnover(one: Signs, other: Signs) -> Array:
    """Return |A Δ B| / |A ∪ B| of each prompt, (P,): 0 for equal sets, 1 for disjoint ones; NaN where both are empty.

    A sign that turned counts as two interactions.
    """
    common = (_common(one, other) != 0).sum(axis=(1, 2))
    either = (one != 0).sum(axis=(1, 2)) + (other != 0).sum(axis=(1, 2)) - common
    with np.errstate(divide="ignore", invalid="ignore"):
        changed: Array = 1.0 - common / either
    return changed


def part(interactions_P2M: Array, members: Signs) -> Array:
    """Return the interactions that belong to a set, and 0 elsewhere."""
    return np.where(members != 0, interactions_P2M, 0.0)


def _common(one: Signs, other: Signs) -> Signs:
    return np.where(one == other, one, np.int8(0))


def _without(one: Signs, other: Signs) -> Signs:
    return np.where(one == other, np.int8(0), one)
