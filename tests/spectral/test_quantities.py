"""Values, energy, the update's own spectrum, sparsity, bands and pairs of updates, each by a second road."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from holdfast.spectral.against import against
from holdfast.spectral.bands import bands
from holdfast.spectral.coordinates import in_base
from holdfast.spectral.energy import energy_split
from holdfast.spectral.haar import haar
from holdfast.spectral.noise import signal_rank
from holdfast.spectral.rotation import exact_rotation
from holdfast.spectral.sparsity import unchanged
from holdfast.spectral.spectrum import exact_spectrum, leading_spectrum
from holdfast.spectral.values import exact_shift, second_order_shift
from made_matrices import base, change, update

SHAPES = [(60, 60), (50, 90), (90, 50)]


@pytest.mark.parametrize("shape", [*SHAPES, (130, 200)])
def test_the_shift_of_values_is_that_of_two_full_svds(shape):
    of = base(*shape)
    one = update(of, change(of, 0.01))
    before, after = (np.linalg.svd(w.numpy(), compute_uv=False) for w in (one.base_MN, one.tuned_MN))
    told = exact_shift(one)
    assert told.normalized == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-8)
    assert told.mean == pytest.approx((after - before).sum() / before.sum(), rel=1e-6)
    assert told.absolute == pytest.approx(np.abs(after - before).sum() / before.sum(), rel=1e-8)


@pytest.mark.parametrize("kind", ["power", "gauss", "steep"])
@pytest.mark.parametrize("shape", [(140, 140), (110, 180)])
def test_the_second_order_shift_lies_within_its_own_error(kind, shape):
    of = base(*shape, kind=kind)
    for relative, spikes in ((3e-4, 0), (4e-3, 3)):
        one = update(of, change(of, relative, spikes=spikes), dtype=torch.float32)
        told, true = second_order_shift(in_base(one)), exact_shift(one)
        assert abs(told.normalized - true.normalized) <= told.normalized_error
        assert abs(told.absolute - true.absolute) <= told.absolute_error
        assert told.normalized_error < 0.6 * told.normalized


@pytest.mark.parametrize("shape", SHAPES)
def test_the_split_of_energy_is_that_of_projectors(shape):
    of = base(*shape)
    by = change(of, 0.05, spikes=2)
    one = update(of, by)
    left, _, right_t = np.linalg.svd(of.numpy(), full_matrices=False)
    by = (one.tuned_MN - one.base_MN).numpy()
    inner, outer = left[:, :12] @ left[:, :12].T, right_t[:12].T @ right_t[:12]
    eye_m, eye_n = np.eye(shape[0]), np.eye(shape[1])
    total = (by**2).sum()
    told = energy_split(in_base(one), 12)
    assert told.diagonal == pytest.approx(((left.T @ by * right_t).sum(1) ** 2).sum() / total, rel=1e-9)
    blocks = {
        "inside": inner @ by @ outer,
        "left": inner @ by @ (eye_n - outer),
        "right": (eye_m - inner) @ by @ outer,
        "outside": (eye_m - inner) @ by @ (eye_n - outer),
    }
    for name, block in blocks.items():
        assert vars(told)[name] == pytest.approx((block**2).sum() / total, rel=1e-9)
    assert told.inside + told.left + told.right + told.outside == pytest.approx(1, abs=1e-12)
    assert told.overlap == pytest.approx(np.linalg.norm(blocks["inside"]) / np.sqrt(total))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_random_updates_energy_lies_where_chance_says(shape):
    of = base(*shape)
    told = [energy_split(in_base(update(of, change(of, 0.1, seed=seed))), 15) for seed in range(12)]
    for name, chance in told[0].chance.items():
        assert np.mean([vars(one)[name] for one in told]) == pytest.approx(chance, rel=0.15)
    assert sum(told[0].chance.values()) == pytest.approx(1 + 1 / max(shape))


def test_that_values_carry_little_of_an_update_holds_for_any_update():
    of = base(240, 300)
    left, values, right_t = torch.linalg.svd(of, full_matrices=False)
    by = change(of, 0.01, spikes=3)
    moved = torch.linalg.svdvals(of + by)
    share = float((((left * (moved - values)) @ right_t) ** 2).sum() / (by**2).sum())
    assert share == pytest.approx(1 / 300, rel=0.5)
    assert energy_split(in_base(update(of, by)), 48).diagonal == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize("shape", [(80, 80), (70, 160)])
def test_the_updates_own_spectrum_is_that_of_numpy(shape):
    of = base(*shape)
    one = update(of, change(of, 0.02, spikes=3))
    values = np.linalg.svd((one.tuned_MN - one.base_MN).numpy(), compute_uv=False)
    share = values**2 / (values**2).sum()
    told = exact_spectrum(one)
    assert told.norm == pytest.approx(values[0])
    assert told.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2)
    assert told.effective_rank == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    assert told.relative == pytest.approx(values[0] / np.linalg.svd(of.numpy(), compute_uv=False)[0])
    assert (told.exact, told.known) == (True, min(shape))


@pytest.mark.parametrize(("shape", "spikes"), [((400, 400), 8), ((260, 500), 0), ((500, 260), 5)])
def test_the_randomized_signal_rank_is_that_of_the_full_svd(shape, spikes):
    of = base(*shape, kind="gauss")
    one = update(of, change(of, 0.002, spikes=spikes), dtype=torch.float32)
    values = np.linalg.svd(one.whole().double().numpy(), compute_uv=False)
    told = leading_spectrum(one)
    assert told.signal_rank == signal_rank(values, *shape) == spikes
    assert (told.exact, told.known, told.effective_rank) == (False, 48, None)
    assert told.norm == pytest.approx(values[0], rel=1e-4 if spikes else 0.05)
    assert told.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-3 if spikes else 0.1)


def test_more_signal_than_was_looked_for_is_looked_for_again():
    of = base(300, 300, kind="gauss")
    by = haar(300, 60, seed=3) @ haar(300, 60, seed=4).T + 1e-3 * base(300, 300, kind="gauss", seed=5)
    told = leading_spectrum(update(of, 1e-3 * by, dtype=torch.float32))
    assert told.signal_rank == 60
    assert told.known > 60


def test_what_is_unchanged_depends_on_the_measure():
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, 1e-6, 0.0])
    after = torch.tensor([1.0, 1.0005, 1.01, 1.000001, 5e-6, 0.0])
    told = unchanged(before, after)
    assert (told.bits, told.rounded) == (2 / 6, 2 / 6)
    assert told.relative == 4 / 6
    assert told.close == 4 / 6
    rounded = unchanged(torch.tensor([1.0005, 1.01, 3.0, 5.0]), torch.tensor([1.0, 1.0, 3.0, 5.1]).bfloat16())
    assert (rounded.bits, rounded.rounded) == (1 / 4, 2 / 4)  # bfloat16 has 1 and 1.0078


def test_in_bfloat16_the_relative_measure_is_equality():
    draw = torch.Generator().manual_seed(0)
    before = torch.randn(200, 200, generator=draw).bfloat16()
    after = (before.float() * (1 + 3e-3 * torch.randn(200, 200, generator=draw))).bfloat16()
    told = unchanged(before, after)
    assert 0.1 < told.bits < 0.9
    assert told.relative == told.bits == told.rounded == float((before == after).double().mean())


@pytest.mark.parametrize("shape", [(80, 80), (60, 100), (100, 60)])
def test_bands_are_the_angles_and_energies_of_their_directions(shape):
    of = base(*shape)
    one = update(of, change(of, 0.01, spikes=2))
    told = bands(one, in_base(one), exact=True)
    assert (told.measured[0].first, told.measured[0].last) == (0, min(shape) // 10 - 1)
    assert told.measured[-1].last == min(shape) - 1
    left, _, right_t = torch.linalg.svd(of, full_matrices=False)
    by = one.tuned_MN - one.base_MN
    for band in told.measured:
        columns = slice(band.first, band.last + 1)
        turned = exact_rotation(one, columns)
        assert band.left == pytest.approx(turned.left.of_chance, rel=1e-6)
        assert band.right == pytest.approx(turned.right.of_chance, rel=1e-6)
        assert band.rows == pytest.approx(float((left[:, columns].T @ by).square().sum() / by.square().sum()))
        assert band.columns == pytest.approx(float((by @ right_t[columns].T).square().sum() / by.square().sum()))
    small = [band.rows if shape[0] <= shape[1] else band.columns for band in told.measured]
    assert sum(small) == pytest.approx(1)


def test_a_random_update_turns_every_band_as_the_null_does():
    of = base(150, 200)
    one = update(of, change(of, 0.003), dtype=torch.float32)
    exact, fast = (bands(one, in_base(one), exact=road) for road in (True, False))
    for told in (exact, fast):
        for band, null in zip(told.measured, told.null, strict=True):
            assert band.left == pytest.approx(null.left, rel=0.6)
            assert band.rows == pytest.approx(band.chance_rows, rel=0.25)
            assert band.columns == pytest.approx(band.chance_columns, rel=0.25)
    for band, other in zip(exact.measured, fast.measured, strict=True):
        assert other.left == pytest.approx(band.left, rel=0.2)
        assert other.right == pytest.approx(band.right, rel=0.2)
    assert fast == bands(one, in_base(one), exact=False)


@pytest.mark.parametrize("shape", [(80, 120), (530, 520)])
def test_two_updates_are_compared_as_numpy_compares_them(shape):
    of = base(*shape, kind="gauss")
    first = change(of, 0.01, spikes=4)
    second = 0.5 * first + change(of, 0.004, spikes=4, seed=30)
    one, other = (update(of, by, dtype=torch.float32) for by in (first, second))
    told = against(one, other, k=4)
    a, b = (u.whole().double().numpy() for u in (one, other))
    assert told.cosine == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    assert told.undone == pytest.approx((a * (a - b)).sum() / (a * a).sum(), abs=1e-6)
    left = [np.linalg.svd(d, full_matrices=False)[0][:, :4] for d in (a, b)]
    sines = np.linalg.svd(left[1] - left[0] @ (left[0].T @ left[1]), compute_uv=False)
    assert told.left.largest == pytest.approx(np.degrees(np.arcsin(sines[0])), abs=0.2)
    assert told.left.rms == pytest.approx(np.sqrt((np.degrees(np.arcsin(sines)) ** 2).mean()), abs=0.2)


def test_going_back_undoes_all_and_going_on_undoes_less_than_nothing():
    of = base(40, 50)
    by = change(of, 0.01)
    for share, undone in ((1.0, 0.0), (0.0, 1.0), (0.25, 0.75), (1.5, -0.5)):
        told = against(update(of, by), update(of, share * by), k=0.1)
        assert told.undone == pytest.approx(undone, abs=1e-9)
    unrelated = against(update(of, by), update(of, change(of, 0.01, seed=77)), k=0.1)
    assert abs(unrelated.cosine) < 0.1
    assert unrelated.left.of_chance == pytest.approx(1, abs=0.3)
