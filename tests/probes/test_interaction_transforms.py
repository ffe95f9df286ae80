"""The identities of interactions, and shapiq's slow sums beside our fast ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from holdfast.probes.interactions.transforms import (
    atoms_at,
    moebius,
    or_interactions,
    orders,
    outputs_of,
    shapley,
    upward_moebius,
    upward_zeta,
    zeta,
)

N = 5
M = 1 << N


def values(seed: int = 0, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*shape, M))


def test_moebius_is_the_alternating_sum_over_subsets() -> None:
    v = values()
    slow = [
        sum((-1) ** (bin(t).count("1") - bin(s).count("1")) * v[s] for s in range(M) if s & t == s) for t in range(M)
    ]
    assert np.allclose(moebius(v), slow, atol=1e-12)


def test_each_transform_is_undone_by_its_inverse_on_any_leading_dimensions() -> None:
    v = values(1, 2, 3)
    assert np.allclose(moebius(zeta(v)), v, atol=1e-12)
    assert np.allclose(upward_moebius(upward_zeta(v)), v, atol=1e-12)


def test_any_parting_of_the_outputs_matches_all_masks() -> None:
    v, part = values(2), values(3)
    a, b = moebius(part), or_interactions(v - part)
    a[0] = 0.0
    assert np.allclose(outputs_of(a, b), v - v[0], atol=1e-11)


def test_interactions_sum_to_what_all_words_say() -> None:
    v, part = values(4), values(5)
    total = moebius(part)[1:].sum() + or_interactions(v - part)[1:].sum()
    assert total == pytest.approx(v[-1] - v[0], abs=1e-11)


def test_an_or_is_an_and_of_the_game_with_masked_and_unmasked_exchanged() -> None:
    v = values(6)
    assert np.allclose(or_interactions(v)[1:], -moebius(v[::-1])[1:], atol=1e-12)


def test_shapley_values_are_shares_of_interactions_and_means_over_orders_of_arrival() -> None:
    v = values(7)
    slow = np.zeros(N)
    arrivals = list(itertools.permutations(range(N)))
    for arrival in arrivals:
        there = 0
        for player in arrival:
            slow[player] += v[there | 1 << player] - v[there]
            there |= 1 << player
    assert np.allclose(shapley(moebius(v)), slow / len(arrivals), atol=1e-11)


def test_sums_over_masks_are_the_transpose_of_outputs() -> None:
    a, b, y = values(8), values(9), values(10)
    a[0] = b[0] = 0.0
    at_and, at_or = atoms_at(y)
    assert (outputs_of(a, b) * y).sum() == pytest.approx((a * at_and).sum() + (b * at_or).sum(), abs=1e-10)


def test_outputs_that_are_not_of_all_subsets_are_refused() -> None:
    with pytest.raises(ValueError, match="6 values"):
        moebius(np.zeros(6))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a library that is only an oracle here
def test_shapiq_finds_the_same_interactions() -> None:
    from shapiq.game_theory.exact import ExactComputer

    v = values(11)

    def game(coalitions: np.ndarray) -> np.ndarray:
        return v[(coalitions.astype(int) << np.arange(N)).sum(axis=1)]

    computer = ExactComputer(game, n_players=N)
    found = computer("Moebius", order=N)
    turned = computer("Co-Moebius", order=N)
    ands, ors = moebius(v), or_interactions(v)
    for subset in range(1, M):
        members = tuple(player for player in range(N) if subset >> player & 1)
        sign = (-1) ** (orders(N)[subset] + 1)
        assert found[members] == pytest.approx(ands[subset], abs=1e-9)
        assert sign * turned[members] == pytest.approx(ors[subset], abs=1e-9)
