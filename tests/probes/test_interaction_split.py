"""The AND–OR split: planted games are found, and nobody finds a sparser one."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.probes.interactions.salience import fit, salient, thresholds
from holdfast.probes.interactions.split import TIE, split, tolerance
from holdfast.probes.interactions.transforms import moebius, orders, outputs_of
from planted_games import f1, planted


def least_by_simplex(values: np.ndarray, delta: float) -> float:
    """The same program, written out and given to SciPy's HiGHS."""
    from scipy.optimize import linprog

    n = len(values).bit_length() - 1
    eye, nothing = np.eye(1 << n), np.zeros((1 << n, 1 << n))
    some, many = orders(n) > 0, orders(n) > 1
    atoms = np.concatenate([outputs_of(eye[some], nothing[some]), outputs_of(nothing[many], eye[many])]).T[1:]
    weights = 1 + TIE * np.concatenate([orders(n)[some], orders(n)[many]])
    wanted = (values - values[0])[1:]
    found = linprog(
        np.concatenate([weights, weights]),
        A_ub=np.block([[atoms, -atoms], [-atoms, atoms]]),
        b_ub=np.concatenate([wanted + delta, delta - wanted]),
        bounds=(0, None),
        method="highs",
    )
    return float(found.fun)


def test_planted_interactions_are_found_under_noise() -> None:
    games = [planted(8, atoms=23, noise=0.05, seed=seed) for seed in range(4)]
    values = np.array([game.values for game in games])
    noise = np.full(len(games), 0.05)
    found = split(values, tolerance(values, noise_P=noise))
    interactions = np.stack([found.and_PM, found.or_PM], axis=1)
    signs = salient(interactions, thresholds(interactions, noise))
    scores = [f1(one, game.truth) for one, game in zip(signs, games, strict=True)]
    assert np.mean(scores) >= 0.8, scores


def test_the_interactions_that_count_explain_a_sparse_game_alone() -> None:
    game = planted(6, atoms=8, noise=0.0, seed=1)
    found = split(game.values[None], tolerance(game.values[None]))
    interactions = np.stack([found.and_PM, found.or_PM], axis=1)
    every, none = np.sign(interactions).astype(np.int8), np.zeros(interactions.shape, dtype=np.int8)
    counting = salient(interactions, thresholds(interactions, np.zeros(1)))
    assert fit(game.values[None], interactions, every)[0] > 0.995
    assert fit(game.values[None], interactions, counting)[0] > 0.95
    assert fit(game.values[None], interactions, none)[0] <= 0


@pytest.mark.parametrize(("n", "seed"), [(3, 0), (6, 1), (6, 2), pytest.param(8, 3, marks=pytest.mark.slow)])
def test_no_solver_finds_a_sparser_split(n: int, seed: int) -> None:
    game = planted(n, atoms=2 * n, noise=0.05, seed=seed)
    delta = tolerance(game.values[None], noise_P=0.05)
    found = split(game.values[None], delta)
    assert found.objective_P[0] == pytest.approx(least_by_simplex(game.values, delta[0]), rel=1e-3)
    assert found.gap_P[0] < 1e-4
    assert found.residual_P[0] <= delta[0] * (1 + 1e-6)


def test_the_gap_is_proved_for_random_outputs_too_and_without_tolerance() -> None:
    values = np.random.default_rng(0).standard_normal((3, 64)) * 10
    found = split(values, np.zeros(3))
    assert found.gap_P.max() < 1e-4
    assert found.residual_P.max() < 1e-5
    assert (found.strength <= np.abs(moebius(values)[:, 1:]).sum(1)).all()


def test_an_interaction_of_one_word_is_an_and() -> None:
    values = np.array([[0.0, 3.0, 0.0, 3.0]])
    found = split(values, np.zeros(1))
    assert np.allclose(found.and_PM, [[0, 3, 0, 0]], atol=1e-4)
    assert np.allclose(found.or_PM, 0, atol=1e-4)
    assert found.or_PM[0, [0, 1, 2]].tolist() == [0, 0, 0]


def test_pure_ors_are_not_taken_for_many_ands() -> None:
    truth = np.zeros((2, 32))
    truth[1, 0b11011] = 2.0
    values = outputs_of(truth[0], truth[1])[None]
    found = split(values, np.zeros(1))
    assert found.strength[0] == pytest.approx(2.0, rel=1e-3)
    assert found.or_PM[0, 0b11011] == pytest.approx(2.0, rel=1e-3)


def test_units_of_the_outputs_do_not_matter() -> None:
    game = planted(5, atoms=8, noise=0.1, seed=4)
    one, other = (split(game.values[None] * unit, np.array([0.1 * unit])) for unit in (1.0, 1e-3))
    assert np.allclose(one.and_PM, other.and_PM * 1e3, atol=1e-3)


def test_outputs_without_any_change_have_no_interactions() -> None:
    found = split(np.full((1, 16), 4.2), np.zeros(1))
    assert found.strength.tolist() == [0.0]
    assert found.gap_P.tolist() == [0.0]


def test_infinite_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        split(np.array([[0.0, np.inf]]), np.zeros(1))


def test_too_many_players_are_refused() -> None:
    with pytest.raises(ValueError, match="13 players"):
        split(np.zeros((1, 1 << 13)), np.zeros(1))
