"""Rates and estimates, each number by two roads."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from holdfast.statistics import Estimate, Rate, cluster_bootstrap, holm, mcnemar, rate_by_cluster


def distinct(n):
    return [str(index) for index in range(n)]


def test_wilson_reproduces_the_published_intervals_of_42_45_and_35_of_234():
    # environments.md §0 fact 6, computed there with another program: 13.6-23.4, 14.7-24.8, 11.0-20.1 %
    found = [tuple(round(100 * end, 1) for end in Rate(k, 234).wilson()) for k in (42, 45, 35)]
    assert found == [(13.6, 23.4), (14.7, 24.8), (11.0, 20.1)]


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 19), (399, 400)])
def test_wilson_equals_scipy(successes, trials):
    ends = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert Rate(successes, trials).wilson() == pytest.approx((ends.low, ends.high), abs=1e-12)


@given(trials=st.integers(1, 500), share=st.floats(0, 1))
def test_wilson_holds_the_rate_and_stays_within_0_and_1(trials, share):
    rate = Rate(round(share * trials), trials)
    low, high = rate.wilson()
    assert 0 <= low <= rate.value <= high <= 1
    assert high > low


def test_a_rate_without_trials_is_unknown_and_never_0():
    assert Rate(0, 0).value is None
    assert rate_by_cluster([], []) == Estimate(None, None, None, 0, 0, "wilson")
    assert cluster_bootstrap([], [], seed=0).value is None
    empty = mcnemar([], [])
    assert (empty.difference, empty.p_value, empty.low) == (None, None, None)


def test_distinct_keys_give_the_plain_wilson_interval():
    estimate = rate_by_cluster([True] * 42 + [False] * 192, distinct(234))
    assert (estimate.low, estimate.high) == pytest.approx(Rate(42, 234).wilson())
    assert (estimate.n, estimate.clusters, estimate.method) == (234, 234, "wilson")


def test_asking_every_problem_ten_times_does_not_narrow_the_interval():
    once = rate_by_cluster([True] * 30 + [False] * 20, distinct(50))
    tenfold = rate_by_cluster(([True] * 30 + [False] * 20) * 10, distinct(50) * 10)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    assert (tenfold.n, tenfold.clusters, tenfold.method) == (500, 50, "wilson_clusters")


def test_unequal_keys_count_by_kish_and_not_by_their_number():
    # sizes 3, 1, 1: n_eff = 5²/(9+1+1) = 25/11, though there are 3 keys
    estimate = rate_by_cluster([True, True, True, False, False], ["a", "a", "a", "b", "c"])
    assert estimate.value == pytest.approx(0.6)
    n, p, z = 25 / 11, 0.6, 1.959963984540054
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n * n))
    assert (estimate.low, estimate.high) == pytest.approx((center - reach, center + reach))


def test_the_clustered_interval_covers_where_counting_keys_does_not():
    # 60 keys, some of 20 problems and most of 1, each key wholly solved or wholly not: true rate 0.5
    generator = np.random.default_rng(0)
    sizes = np.array([20] * 6 + [1] * 54)
    keys = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    kish = naive = 0
    for _ in range(400):
        solved = np.repeat(generator.random(60) < 0.5, sizes)
        estimate = rate_by_cluster(solved.tolist(), keys)
        low, high = Rate(60 * solved.mean(), 60).wilson()
        kish += estimate.low <= 0.5 <= estimate.high
        naive += low <= 0.5 <= high
    assert kish / 400 >= 0.93
    assert naive / 400 < 0.85


def test_values_outside_0_and_1_or_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rate_by_cluster([1.5], ["a"])
    with pytest.raises(ValueError, match="NaN"):
        cluster_bootstrap([float("nan")], ["a"], seed=0)
    with pytest.raises(ValueError, match="2 values but 1 keys"):
        rate_by_cluster([True, False], ["a"])


def ratio(sums, counts, axis=-1):
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def test_the_cluster_bootstrap_equals_scipys_bca_of_the_ratio_up_to_draws():
    generator = np.random.default_rng(1)
    sizes = generator.integers(1, 6, size=40)
    keys = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    values = np.repeat(generator.exponential(size=40), sizes) + generator.normal(size=sizes.sum()) / 10
    ours = cluster_bootstrap(values.tolist(), keys, seed=2, draws=20_000)
    sums = np.array([values[np.array(keys) == str(k)].sum() for k in range(40)])
    theirs = stats.bootstrap(
        (sums, sizes),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        batch=1_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.03
    )  # either moves by 0.01 from seed to seed
    assert ours.low < ours.value < ours.high


def test_the_bootstrap_of_distinct_successes_agrees_with_wilson():
    successes, n = [True] * 120 + [False] * 280, 400
    boot = cluster_bootstrap(successes, distinct(n), seed=0)
    assert (boot.low, boot.high) == pytest.approx(Rate(120, n).wilson(), abs=0.01)


def test_the_bootstrap_is_a_function_of_its_seed():
    values, keys = [0.0, 1.0, 0.3, 0.8, 0.1, 0.9], ["a", "a", "b", "c", "d", "e"]
    assert cluster_bootstrap(values, keys, seed=3) == cluster_bootstrap(values, keys, seed=3)
    assert cluster_bootstrap(values, keys, seed=3) != cluster_bootstrap(values, keys, seed=4)


def test_too_few_keys_or_constant_values_leave_the_interval_unknown():
    few = cluster_bootstrap([0.0, 1.0, 0.5, 0.2], distinct(4), seed=0)
    constant = cluster_bootstrap([1.0] * 50, distinct(50), seed=0)
    assert (few.value, few.low, few.high) == (pytest.approx(0.425), None, None)
    assert (constant.value, constant.low, constant.high) == (1.0, None, None)


def test_mcnemar_equals_its_golden_number():
    # 10 problems change, 8 of them for the worse: 2·(C(10,0)+C(10,1)+C(10,2))/2¹⁰ = 2·56/1024 = 0.109375
    first = [True] * 8 + [False] * 2 + [True] * 30
    second = [False] * 8 + [True] * 2 + [True] * 30
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second, result.n) == (8, 2, 40)
    assert result.p_value == pytest.approx(0.109375)
    assert result.p_value_unclustered == pytest.approx(0.109375)
    assert result.difference == pytest.approx(-6 / 40)


def test_newcombes_interval_equals_the_one_worked_out_by_hand():
    # 2 × 2 table both 36, only first 12, only second 2, neither 0. Wilson: 48/50 in [.8654, .9890], 38/50 in
    # [.6259, .8570]; a·d - b·c = -24 < 0, φ = -24/√(48·2·38·12) = -.1147. Difference first - second = .20:
    # lower .20 - √(.0946² + 2·.1147·.0946·.0970 + .0970²) = .0569, upper .20 + √(.0290² + 2·.1147·.0290·.1341 + .1341²)
    first = [True] * 36 + [True] * 12 + [False] * 2
    second = [True] * 36 + [False] * 12 + [True] * 2
    result = mcnemar(second, first)
    assert result.difference == pytest.approx(0.2)
    assert (result.low, result.high) == pytest.approx((0.0569, 0.3404), abs=2e-4)


def brute_force_sign_flip(changes):
    observed = abs(sum(changes))
    flips = itertools.product((-1, 1), repeat=len(changes))
    sums = [abs(sum(sign * change for sign, change in zip(signs, changes, strict=True))) for signs in flips]
    return sum(total >= observed for total in sums) / len(sums)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdefg")), min_size=1, max_size=25))
def test_the_clustered_p_value_equals_brute_force_over_all_signs(rows):
    first, second, keys = (list(column) for column in zip(*rows, strict=True))
    changes = [sum(b - a for a, b, k in rows if k == key) for key in sorted(set(keys))]
    assert mcnemar(first, second, keys).p_value == pytest.approx(brute_force_sign_flip(changes))


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (3, 3), (8, 2), (40, 71), (900, 800)])
def test_the_unclustered_p_value_equals_scipys_exact_binomial_test(lost, won):
    first = [True] * lost + [False] * won
    result = mcnemar(first, [not one for one in first])
    assert result.p_value_unclustered == pytest.approx(stats.binomtest(lost, lost + won, 0.5).pvalue)
    assert result.p_value == pytest.approx(result.p_value_unclustered)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_with_distinct_keys_the_clustered_test_is_mcnemars(pairs):
    first, second = (list(column) for column in zip(*pairs, strict=True))
    result, swapped = mcnemar(first, second), mcnemar(second, first)
    assert result.p_value == pytest.approx(result.p_value_unclustered)
    assert result.p_value == pytest.approx(swapped.p_value)
    assert (result.low, result.high) == pytest.approx((-swapped.high, -swapped.low))
    assert -1 <= result.low <= result.difference <= result.high <= 1


def test_ten_copies_of_one_changed_problem_are_one_observation():
    once = mcnemar([True] * 4, [False] * 3 + [True], distinct(4))
    tenfold = mcnemar([True] * 40, ([False] * 3 + [True]) * 10, distinct(4) * 10)
    assert tenfold.p_value == pytest.approx(once.p_value)
    assert tenfold.p_value_unclustered < 1e-6
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_the_paired_interval_covers_the_true_difference():
    generator, covered = np.random.default_rng(5), 0
    for _ in range(300):
        uniform = generator.random((2, 120))
        first, second = uniform[0] < 0.9, np.where(uniform[0] < 0.9, uniform[1] < 0.7, uniform[1] < 0.3)
        result = mcnemar(first.tolist(), second.tolist())
        covered += result.low <= (0.9 * 0.7 + 0.1 * 0.3 - 0.9) <= result.high
    assert 0.92 <= covered / 300 <= 0.99


def test_holm_never_lowers_a_p_value_and_is_bonferroni_for_the_smallest():
    values = [0.01, None, 0.02, 0.9, 0.015]
    adjusted = holm(values)
    assert adjusted[1] is None
    assert adjusted[0] == pytest.approx(0.04)
    assert adjusted[4] == pytest.approx(0.045)
    assert adjusted[2] == pytest.approx(0.045)  # 2 · 0.02 = 0.04 is below its predecessor's 0.045
    assert adjusted[3] == pytest.approx(0.9)


def test_importing_statistics_does_not_import_scipy():
    code = "import sys, holdfast.statistics; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
