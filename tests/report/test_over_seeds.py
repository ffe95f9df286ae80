"""Intervals over seeds and problems: against closed forms, and against what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from holdfast.report.over_seeds import Crossed, contrast, of_estimates, of_seeds, rate
from holdfast.statistics import Estimate, rate_by_cluster


def names(n):
    return [str(number) for number in range(n)]


def test_one_number_a_seed_gives_students_interval():
    values = [0.2, 0.5, 0.6, 0.3]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    told = of_seeds(values)
    assert (told.value, told.low, told.high) == pytest.approx((0.4, low, high))
    assert of_seeds([0.5]).low is None
    assert of_seeds([]).value is None


def test_with_one_seed_and_many_problems_a_difference_has_the_interval_of_its_mean():
    values = np.random.default_rng(0).choice([-1.0, 0.0, 0.0, 1.0, 1.0], (1, 2000))
    low, high = stats.t.interval(0.95, 1999, loc=values.mean(), scale=stats.sem(values[0]))
    told = contrast([Crossed(values, names(2000), 1.0)])
    assert told.value == pytest.approx(values.mean())
    assert (told.low, told.high) == pytest.approx((low, high), abs=1e-4)
    assert told.method == "problems"


def test_variance_between_seeds_widens_the_interval_as_two_degrees_of_freedom_do():
    values = np.repeat([[0.0], [0.5], [1.0]], 4000, axis=1)
    told = contrast([Crossed(values, names(4000), 0.5)])
    reach = stats.t.ppf(0.975, 2) * np.std([0, 0.5, 1], ddof=1) / np.sqrt(3)
    assert (told.low, told.high) == pytest.approx((0.5 - reach, 0.5 + reach), rel=1e-3)


def test_asking_the_same_problems_again_under_their_keys_narrows_nothing():
    values = np.random.default_rng(1).integers(0, 2, (3, 60)).astype(float)
    once = contrast([Crossed(values, names(60), 1.0)])
    again = contrast([Crossed(np.tile(values, 5), names(60) * 5, 1.0)])
    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert (again.n, again.clusters) == (900, 60)


def test_parts_with_problems_of_their_own_add_their_variances():
    draw = np.random.default_rng(2)
    one, two = (draw.choice([0.0, 1.0], (1, n)) for n in (500, 800))
    told = contrast([Crossed(one, names(500), 0.5), Crossed(-two, names(800), 0.5)])
    welch = stats.ttest_ind(one[0], two[0], equal_var=False).confidence_interval()
    assert (told.low, told.high) == pytest.approx((welch.low, welch.high), abs=3e-4)


def test_answers_that_agree_everywhere_are_no_certainty():
    told = contrast([Crossed(np.zeros((3, 50)), names(50), 1.0)])
    assert told.low < 0 < told.high
    sure = rate(np.ones((3, 50)), names(50))
    assert sure.low == pytest.approx(rate_by_cluster([True] * 50, names(50)).low)
    assert sure.high == 1


def test_a_rate_of_one_seed_is_wilsons():
    values = (np.random.default_rng(3).random((1, 400)) < 0.3).astype(float)
    told, plain = rate(values, names(400)), rate_by_cluster(values[0].tolist(), names(400))
    assert (told.low, told.high) == pytest.approx((plain.low, plain.high), abs=1e-3)


def test_a_rate_stays_within_0_and_1_and_holds_its_value():
    draw = np.random.default_rng(4)
    for seeds, chance in itertools.product((1, 2, 3), (0.01, 0.5, 0.99)):
        told = rate((draw.random((seeds, 40)) < chance).astype(float), names(40))
        assert 0 <= told.low <= told.value <= told.high <= 1
    apart = rate(np.repeat([[0.0], [1.0]], 40, axis=1), names(40))  # two seeds that differ in everything
    assert (apart.low, apart.high) == pytest.approx((0, 1), abs=0.01)


@pytest.mark.parametrize(("between", "within"), [(0.0, 0.3), (0.6, 0.3), (0.6, 0.02)])
def test_the_interval_of_three_seeds_holds_the_truth_at_least_19_times_in_20(between, within):
    draw = np.random.default_rng(5)
    held, repeats, problems = 0, 300, 60
    for _ in range(repeats):
        ease = draw.normal(0, within, problems)
        effect = draw.normal(0, between, (3, 1))
        values = ease + effect + draw.normal(0, 0.3, (3, problems))
        told = contrast([Crossed(values, names(problems), 1.0)])
        held += told.low <= 0 <= told.high
    assert held / repeats >= 0.93  # 0.95 less three standard errors of 300 repeats


@pytest.mark.parametrize("between", [0.0, 0.05])
@pytest.mark.parametrize("alike", [0.0, 0.15, 0.3])
def test_a_rate_over_steps_of_routes_holds_the_truth_at_least_19_times_in_20(between, alike):
    draw = np.random.default_rng(6)
    held, repeats, routes, steps = 0, 300, 40, 9
    reaches, apart = [], []
    for _ in range(repeats):
        ease = np.repeat(draw.uniform(-alike, alike, routes), steps)
        chance = 0.6 + ease + draw.normal(0, between, (3, 1))
        values = (draw.random((3, routes * steps)) < chance).astype(float)
        told = rate(values, [str(number // steps) for number in range(routes * steps)])
        held += told.low <= 0.6 <= told.high
        reaches.append(told.high - told.low)
        one = rate(values[:, ::steps], names(routes))
        apart.append(one.high - one.low)
    assert held / repeats >= 0.93
    assert np.mean(reaches) < 0.8 * np.mean(apart)  # nine steps of a route tell more than one


@pytest.mark.parametrize("shapes", [[], [(0, 5)], [(3, 5), (2, 5)]])
def test_parts_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match="same seeds"):
        contrast([Crossed(np.zeros(shape), names(shape[1]), 1.0) for shape in shapes])


def test_an_interval_that_is_open_to_a_side_leaves_none():
    closed = Estimate(0.5, 0.4, 0.6, 16, 16, "")
    assert of_estimates([closed, closed]).low is not None
    for odd in (Estimate(0.5, 0.4, None, 16, 16, ""), Estimate(0.5, None, 0.6, 16, 16, "")):
        told = of_estimates([closed, odd, Estimate(0.7, 0.6, 0.8, 16, 16, "")])
        assert (told.value, told.low, told.high) == (pytest.approx(1.7 / 3), None, None)
    zero = Estimate(0.5, 0.0, 0.6, 16, 16, "")  # open on the scale of logarithms alone
    assert of_estimates([zero, closed], log=True).low is None
    assert of_estimates([zero, closed]).low is not None


def test_estimates_without_intervals_speak_of_other_seeds_alone():
    plain = [Estimate(value, None, None, 1, 1, "") for value in (0.4, 0.5, 0.7)]
    assert of_estimates(plain) == of_seeds([0.4, 0.5, 0.7])
