"""Everything of one matrix: which road is taken, and what is 0."""

from __future__ import annotations

import json
import math

import pytest
import torch

from holdfast.spectral import measure as measured
from holdfast.spectral.factors import Factors, factorize
from holdfast.spectral.measure import Matrix, measure, untouched
from holdfast.spectral.update import Update
from made_matrices import base, change, update


def numbers(value):
    """All numbers in plain JSON."""
    if isinstance(value, dict):
        return [n for one in value.values() for n in numbers(one)]
    if isinstance(value, list):
        return [n for one in value for n in numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_the_same_matrix_gives_exactly_nothing():
    of = base(60, 80).bfloat16()
    told = measure(Update(of, of.clone()))
    assert told.road == "identical"
    assert told.norm == told.relative == 0
    for end in (told.top, told.bottom):
        for side in (end.left, end.right):
            assert (side.largest, side.rms, side.of_chance) == (0, 0, 0)
    assert (told.values.normalized, told.values.mean, told.values.absolute) == (0, 0, 0)
    assert {told.energy.diagonal, told.energy.inside, told.energy.left, told.energy.right, told.energy.outside} == {0}
    assert told.unchanged.bits == 1
    assert told.spectrum is None
    again = untouched(60, 80, matrix=Matrix(), k=0.2, base_norm=told.base_norm)
    assert again == told


def test_small_matrices_and_large_updates_take_the_exact_road(monkeypatch):
    of = base(60, 80)
    assert measure(update(of, change(of, 1e-3))).road == "exact"
    monkeypatch.setattr(measured, "EXACT_UP_TO", 50)
    one = update(of, change(of, 1e-3), dtype=torch.float32)
    told, exact = measure(one), measure(one, exact=True)
    assert (told.road, exact.road) == ("first_order", "exact")
    assert measure(update(of, change(of, 0.03))).road == "exact"
    assert exact.top.left.rms_error is None
    assert told.top.left.rms == pytest.approx(exact.top.left.rms, abs=told.top.left.rms_error)
    assert told.values.normalized == pytest.approx(exact.values.normalized, abs=told.values.normalized_error)
    assert told.energy.inside == pytest.approx(exact.energy.inside, rel=1e-4)
    assert told.relative == pytest.approx(exact.relative, rel=1e-5) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_a_transposed_matrix_swaps_left_and_right(shape):
    of = base(*shape)
    by = change(of, 0.01, spikes=2)
    told, turned = measure(update(of, by), with_bands=True), measure(update(of.T, by.T), with_bands=True)
    assert told.top.left.rms == pytest.approx(turned.top.right.rms, rel=1e-6)
    assert told.bottom.right.largest == pytest.approx(turned.bottom.left.largest, rel=1e-6)
    assert told.energy.left == pytest.approx(turned.energy.right, rel=1e-6)
    assert told.values.normalized == pytest.approx(turned.values.normalized, rel=1e-6)
    assert told.spectrum.signal_rank == turned.spectrum.signal_rank
    for one, other in zip(told.bands.measured, turned.bands.measured, strict=True):
        assert (one.left, one.rows) == pytest.approx((other.right, other.columns), rel=1e-6)


def test_a_base_of_zeros_has_an_update_but_no_directions():
    by = change(base(20, 30), 0.1)
    told = measure(Update(torch.zeros(20, 30, dtype=torch.float64), by))
    assert (told.relative, told.top, told.values, told.bands) == (None, None, None, None)
    assert told.spectrum.stable_rank > 1
    assert told.unchanged.bits == 0


def test_a_base_of_low_rank_gives_finite_numbers():
    of = base(40, 60)
    left, values, right_t = torch.linalg.svd(of, full_matrices=False)
    values[25:] = 0
    low = ((left * values) @ right_t).float()
    for exact in (True, False):
        told = measure(Update(low, low + change(of, 1e-3).float()), exact=exact, with_bands=True)
        assert all(math.isfinite(number) for number in numbers(told.to_json()))


def test_a_reading_is_plain_json_with_its_chance_levels():
    of = base(30, 40)
    by = change(of, 0.01)
    told = measure(update(of, by), matrix=Matrix("w", "mlp", 3), with_bands=True, other=update(of, 2 * by))
    text = json.dumps(told.to_json(), allow_nan=False)
    back = json.loads(text)
    assert (back["name"], back["role"], back["layer"], back["road"]) == ("w", "mlp", 3, "exact")
    assert back["energy"]["chance"]["inside"] == pytest.approx(6 * 6 / 1200)
    assert back["against"]["undone"] == pytest.approx(-1)
    assert back["top"]["left"]["forced"] == 0
    assert len(back["bands"]["null"]) == 10


def test_a_matrix_with_inputs_first_gives_the_same_numbers_from_the_same_factors():
    for shape in ((40, 40), (30, 50)):
        of = base(*shape)
        by = change(of, 0.01)
        made = factorize(of)
        flipped = Factors(made.vectors_RR, made.values_R, not made.rows_are_smaller)
        turned = measure(Update(of.T, (of + by).T, factors=lambda: flipped))  # noqa: B023
        told = measure(update(of, by))
        assert turned.top.left.rms == pytest.approx(told.top.right.rms, rel=1e-6)
        assert turned.energy.right == pytest.approx(told.energy.left, rel=1e-6)


def test_what_is_not_finite_is_refused():
    of = base(30, 40)
    bad = of.clone()
    bad[3, 4] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        measure(Update(of, bad))
