"""Whether an interaction is found elsewhere too, with the same sign: in another model, in twins, in other templates.

Who is asked makes the word. With a second model, or with runs on disjoint halves of the data (*twins*), an interaction
that both have *generalizes*: neither had to learn it from the same rows by the same weights. Where the same model is
asked with other words around the same prompt (*templates*), or with another seed, it is *stable* and no more: what a
model memorized it may well repeat in any template.

    G_T = share of the references in which T counts with the same sign      γ(Ω) = mean of G over Ω

Some agreement is chance: of interactions with the same kind, order and sign, a share counts in the reference anyhow.
`by_chance` is γ of a set whose members are exchanged at random for others of their kind and order.

Reference: γ as a note on arXiv 2605.17967 has it; Chen et al. 2024 (arXiv 2401.16318) for references. Twins and
templates in their place, the soft form and the floor are ours.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from holdfast.probes.interactions.salience import Signs
from holdfast.probes.interactions.transforms import Array, orders, players_of

STABLE = 2 / 3
"""Share of the templates in which a stable interaction is found."""


def agreement(members: Signs, references: Sequence[Signs]) -> Array:
    """Return G of each member, (P, 2, M): the share of ``references`` that have it with its sign; NaN elsewhere.

    Args:
        members: A set of interactions.
        references: What counts in each reference, of the same prompts and players; at least one.
    """
    shared = np.mean([members == reference for reference in references], axis=0)
    return np.where(members != 0, shared, np.nan)


def stable(members: Signs, templates: Sequence[Signs]) -> Array:
    """Return 1 for each member that at least `STABLE` of the templates have, else 0; NaN elsewhere.

    Args:
        members: Of the prompts as they are, which is a template too, and has them.
        templates: What counts in each further template.
    """
    found = np.sum([members == other for other in templates], axis=0)
    return np.where(members != 0, (found >= least_found(len(templates))).astype(np.float64), np.nan)


def least_found(further: int) -> int:
    """Return in how many of ``further`` templates a stable interaction is found, beside the one it is from.

    Example:
        >>> [least_found(further) for further in (1, 2, 4)]
        [1, 1, 3]
    """
    return math.ceil(STABLE * (further + 1) - 1e-9) - 1


def soft_agreement(members: Signs, interactions_P2M: Array, references: Sequence[Array]) -> Array:
    """Return the mean of min(|I|, |I'|) / max(|I|, |I'|) over references, 0 where signs differ; NaN outside the set.

    Args:
        members: A set of interactions.
        interactions_P2M: Their strength.
        references: Interactions in each reference, whether they count there or not.
    """
    size = np.abs(interactions_P2M)
    ratios = []
    for other in references:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.minimum(size, np.abs(other)) / np.maximum(size, np.abs(other))
        ratios.append(np.where(np.sign(other) == members, ratio, 0.0))
    return np.where(members != 0, np.mean(ratios, axis=0), np.nan)


def by_chance(members: Signs, references: Sequence[Signs]) -> Array:
    """Return what `agreement` of each member would be by chance, (P, 2, M); NaN elsewhere."""
    return np.where(members != 0, np.mean([_chance(members, other) for other in references], axis=0), np.nan)


def stable_by_chance(members: Signs, templates: Sequence[Signs]) -> Array:
    """Return what `stable` of each member would be by chance, were templates independent; NaN elsewhere."""
    # counts[k] = chance that k of the templates so far have it
    counts = [np.ones(members.shape)]
    for other in templates:
        hit = _chance(members, other)
        padded = [*counts, np.zeros(members.shape)]
        counts = [
            padded[number] * (1 - hit) + (padded[number - 1] * hit if number else 0.0) for number in range(len(padded))
        ]
    return np.where(members != 0, np.sum(counts[least_found(len(templates)) :], axis=0), np.nan)


def _chance(members: Signs, reference: Signs) -> Array:
    """Return the share of the reference's interactions of the same kind, order and prompt that count with the sign."""
    n = players_of(np.asarray(members, dtype=np.float64))
    expected = np.zeros(members.shape)
    for size in range(1, n + 1):
        kept_M = orders(n) == size
        for sign in (-1, 1):
            share_P2 = (reference[..., kept_M] == sign).mean(axis=2)
            expected[..., kept_M] += np.where(members[..., kept_M] == sign, share_P2[..., None], 0.0)
    return expected
