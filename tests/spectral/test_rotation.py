"""Angles of subspaces, by decomposition and by perturbation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.spectral import turning
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.coordinates import in_base
from holdfast.spectral.haar import haar
from holdfast.spectral.rotation import angles_between, chance_least, exact_rotation, first_order_rotation
from holdfast.spectral.turning import Ends
from holdfast.spectral.update import Update
from made_matrices import base, change, update


def by_numpy(before, after, columns):
    """Angles in degrees of left and right subspaces, from two full SVDs."""
    sides = []
    one, other = (np.linalg.svd(w.double().numpy(), full_matrices=False) for w in (before, after))
    for first, second in ((one[0], other[0]), (one[2].T, other[2].T)):
        first, second = first[:, columns], second[:, columns]
        sines = np.linalg.svd(second - first @ (first.T @ second), compute_uv=False)
        sides.append(np.degrees(np.arcsin(np.clip(sines, 0, 1))))
    return sides


@pytest.mark.parametrize("shape", [(40, 40), (40, 70), (70, 40), (300, 120)])
@pytest.mark.parametrize("last", [False, True])
def test_the_exact_road_is_two_full_svds_of_numpy(shape, last):
    of = base(*shape)
    one = update(of, change(of, 0.05))
    ends = Ends.of(8, min(shape), last=last)
    told = exact_rotation(one, ends.own)
    for side, expected in zip((told.left, told.right), by_numpy(one.base_MN, one.tuned_MN, ends.own), strict=True):
        assert side.largest == pytest.approx(expected.max(), rel=1e-6)
        assert side.rms == pytest.approx(np.sqrt((expected**2).mean()), rel=1e-6)
        chance = 8 * (1 - 8 / side.size)
        assert side.of_chance == pytest.approx((np.sin(np.radians(expected)) ** 2).sum() / chance, rel=1e-6)


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 0.3, 1.2])
def test_a_planted_rotation_is_recovered(angle):
    of = base(60, 90, kind="steep")
    left, values, right_t = torch.linalg.svd(of, full_matrices=False)
    turn = torch.eye(60, dtype=torch.float64)
    turn[9:11, 9:11] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    told = exact_rotation(Update(of, (left @ turn * values) @ right_t), slice(0, 10))
    assert math.radians(told.left.largest) == pytest.approx(angle, abs=1e-4 * min(1.0, angle * 100))
    assert math.radians(told.left.rms) == pytest.approx(angle / math.sqrt(10), abs=1e-4 * min(1.0, angle * 100))
    assert told.right.largest < 1e-4


def test_a_planted_turn_of_all_directions_is_recovered():
    of = base(50, 50)
    left, values, right_t = torch.linalg.svd(of)
    skew = torch.zeros(50, 50, dtype=torch.float64)
    for i in range(10):
        skew[i, 20 + i], skew[20 + i, i] = -1e-2 * (1 + i / 10), 1e-2 * (1 + i / 10)
    turned = Update(of, left @ torch.linalg.matrix_exp(skew) * values @ right_t)
    told = exact_rotation(turned, slice(0, 10))
    assert told.right.largest < 1e-4
    assert math.radians(told.left.largest) == pytest.approx(1.9e-2, abs=1e-4)
    assert math.radians(told.left.rms) == pytest.approx(
        1e-2 * math.sqrt(np.mean((1 + np.arange(10) / 10) ** 2)), abs=1e-4
    )


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_the_same_subspaces_have_no_angle_even_from_a_float32_cache(stored, tmp_path: Path):
    of = base(120, 200).to(stored)
    cache = FactorCache(tmp_path)
    for _ in range(2):
        one = Update(of, of * 2, factors=lambda: cache.factors(of))
        for columns in (slice(0, 24), slice(96, 120)):
            told = exact_rotation(one, columns)
            assert max(told.left.largest, told.right.largest) <= 1e-4
    assert (cache.found, cache.made) == (1, 1)


@pytest.mark.parametrize("shape", [(200, 200), (160, 320), (320, 160)])
def test_a_large_random_update_turns_as_much_as_chance(shape):
    of = base(*shape)
    told = exact_rotation(update(of, change(of, 300.0)), slice(0, 32))
    assert told.left.of_chance == pytest.approx(1, abs=0.05)
    assert told.right.of_chance == pytest.approx(1, abs=0.05)


def test_chance_is_what_random_subspaces_have():
    size, count = 400, 40
    sides = [angles_between(haar(size, count, seed=seed), haar(size, count, seed=seed + 50)) for seed in range(4)]
    assert np.mean([side.of_chance for side in sides]) == pytest.approx(1, abs=0.01)
    cosines = torch.linalg.svdvals(haar(size, count, seed=1).T @ haar(size, count, seed=2))
    assert math.degrees(math.acos(float(cosines[0]))) == pytest.approx(chance_least(count, size), abs=3)


def test_what_must_overlap_is_counted():
    told = angles_between(haar(30, 20, seed=0), haar(30, 20, seed=1))
    assert told.forced == 10
    sines = torch.linalg.svdvals(
        haar(30, 20, seed=1) - haar(30, 20, seed=0) @ haar(30, 20, seed=0).T @ haar(30, 20, seed=1)
    )
    assert int((sines < 1e-9).sum()) == 10
    whole = angles_between(haar(20, 20, seed=0), haar(20, 20, seed=1))
    assert (whole.largest, whole.rms, whole.of_chance) == (0.0, 0.0, None)


@pytest.mark.parametrize("kind", ["power", "gauss", "steep"])
@pytest.mark.parametrize(("shape", "spikes"), [((160, 160), 0), ((140, 240), 4), ((240, 140), 4)])
def test_first_order_lies_within_its_own_error_of_the_exact_angles(kind, shape, spikes):
    of = base(*shape, kind=kind)
    for relative in (2e-4, 3e-3):
        one = update(of, change(of, relative, spikes=spikes), dtype=torch.float32)
        ends = [Ends.of(28, min(shape)), Ends.of(28, min(shape), last=True)]
        found = in_base(one, columns=[end.near for end in ends])
        for end in ends:
            exact, told = exact_rotation(one, end.own), first_order_rotation(found, end)
            for mine, true in ((told.left, exact.left), (told.right, exact.right)):
                assert abs(mine.largest - true.largest) <= mine.largest_error
                assert abs(mine.rms - true.rms) <= mine.rms_error
                assert abs(mine.of_chance - true.of_chance) <= mine.of_chance_error
                assert mine.rms_error < 0.25 * mine.rms
                assert mine.rms == pytest.approx(true.rms, rel=0.004)


def test_the_correction_beside_a_small_window_leaves_little_over(monkeypatch):
    monkeypatch.setattr(turning, "HALF", 8)
    of = base(200, 200)
    one = update(of, change(of, 2e-3, spikes=3))
    ends = Ends.of(40, 200)
    told, exact = first_order_rotation(in_base(one, columns=[ends.near]), ends), exact_rotation(one, ends.own)
    assert told.left.rms == pytest.approx(exact.left.rms, rel=1e-4)  # 3e-4 without it
    assert told.right.rms == pytest.approx(exact.right.rms, rel=1e-4)


def test_equal_singular_values_at_the_cut_do_not_blow_first_order_up():
    left, right = haar(120, 120, seed=0), haar(150, 120, seed=1)
    values = torch.linspace(2, 1, 120, dtype=torch.float64)
    values[20:28] = values[24]
    of = (left * values) @ right.T
    one = update(of, change(of, 1e-3), dtype=torch.float32)
    ends = Ends.of(24, 120)
    told, exact = first_order_rotation(in_base(one, columns=[ends.near]), ends), exact_rotation(one, ends.own)
    assert told.left.largest == pytest.approx(exact.left.largest, abs=1)
    assert told.left.rms == pytest.approx(exact.left.rms, rel=0.05)
    flat = update(left @ right.T, change(of, 1e-3), dtype=torch.float32)
    told = first_order_rotation(in_base(flat, columns=[ends.near]), ends)
    assert told.left.largest <= 90
    assert told.left.of_chance < 2
