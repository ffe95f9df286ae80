"""Paired comparison of problems that were answered several times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from holdfast.repeated import paired_means
from holdfast.statistics import cluster_bootstrap, mcnemar


def answers(chances, *, times, generator):
    return [list((generator.random(times) < chance).astype(float)) for chance in chances]


def shifted(*, problems=150, times=4, shift=0.12, seed=0):
    """Answers before and after a shift of every problem's chance; the problems themselves differ a lot."""
    generator = np.random.default_rng(seed)
    chances = generator.uniform(0.02, 0.86, problems)
    return (
        answers(chances, times=times, generator=generator),
        answers(chances + shift, times=times, generator=generator),
    )


def test_identical_answers_differ_by_0_within_0_and_0():
    first, _ = shifted()
    found = paired_means(first, first)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert (found.n, found.only_first, found.only_second, found.method) == (150, 0, 0, "means")


def test_a_known_shift_is_found():
    found = paired_means(*shifted())
    assert 0 < found.low < 0.12 < found.high
    assert found.p_value < 0.001
    assert found.only_second > found.only_first > 0
    back = paired_means(*reversed(shifted()))
    assert back.difference == -found.difference
    assert back.p_value == found.p_value


def test_pairing_narrows_the_interval():
    first, second = shifted()
    found = paired_means(first, second)
    keys = [str(number) for number in range(len(first))]
    apart = [cluster_bootstrap([np.mean(row) for row in rows], keys, seed=0) for rows in (first, second)]
    unpaired = np.hypot(*(one.high - one.low for one in apart))
    assert found.high - found.low < 0.75 * unpaired


def test_more_answers_to_the_same_problems_narrow_the_interval_only_down_to_what_problems_differ_by():
    wide, narrow = (paired_means(*shifted(times=times)) for times in (2, 32))
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
    first, second = shifted()
    copied = paired_means([row * 8 for row in first], [row * 8 for row in second])
    once = paired_means(first, second)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert copied.p_value == pytest.approx(once.p_value)


def test_copies_of_one_problem_count_once():
    first, second = shifted(problems=40)
    keys = [str(number) for number in range(40)]
    once, often = paired_means(first, second, keys), paired_means(first * 5, second * 5, keys * 5)
    assert often.clusters == once.clusters == 40
    assert (often.difference, often.low, often.high) == pytest.approx((once.difference, once.low, once.high))
    assert often.p_value == pytest.approx(once.p_value)
    assert often.p_value_unclustered < once.p_value


def test_with_one_answer_a_problem_the_test_is_mcnemars():
    first, second = shifted(times=1)
    keys = [str(number % 90) for number in range(150)]
    exact = mcnemar([bool(a) for (a,) in first], [bool(b) for (b,) in second], keys)
    found = paired_means(first, second, keys)
    for name in ("n", "clusters", "only_first", "only_second", "difference", "p_value"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name)), name


def test_the_p_value_equals_brute_force_over_all_signs_of_keys():
    first, second = shifted(problems=14, times=3)
    keys = [str(number % 9) for number in range(14)]
    change = dict.fromkeys(keys, 0.0)
    for key, a, b in zip(keys, first, second, strict=True):
        change[key] += sum(b) - sum(a)
    sums = [abs(np.dot(signs, list(change.values()))) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean([total >= abs(sum(change.values())) - 1e-9 for total in sums])
    assert paired_means(first, second, keys).p_value == pytest.approx(expected)


def test_the_test_rejects_by_chance_as_often_as_it_says():
    wrong = [paired_means(*shifted(problems=40, shift=0.0, seed=seed)).p_value <= 0.05 for seed in range(200)]
    assert np.mean(wrong) <= 0.09  # 5 % and 2.6 standard errors


def test_the_interval_covers_the_true_difference():
    found = [paired_means(*shifted(problems=60, seed=seed)) for seed in range(100)]
    assert np.mean([one.low <= 0.12 <= one.high for one in found]) >= 0.89


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([[1.0, 0.0]] * 6, [[1.0]] * 6),  # unequally often by the two sides
        ([[1.0, 0.0], *[[1.0]] * 5], [[1.0, 1.0], *[[0.0]] * 5]),  # unequally often among problems
        ([[0.25, 0.5]] * 6, [[0.5, 1.0]] * 6),  # graded
    ],
)
def test_what_cannot_trade_sides_has_an_interval_but_no_p_value(first, second):
    found = paired_means(first, second)
    assert found.p_value is None
    assert found.p_value_unclustered is None
    assert found.low <= found.difference <= found.high


def test_too_few_keys_leave_the_interval_unknown():
    first, second = shifted(problems=12)
    found = paired_means(first, second, ["a", "b", "c", "d"] * 3)
    assert (found.low, found.high) == (None, None)
    assert found.p_value is not None
    assert paired_means([], []).difference is None


def test_problems_without_an_answer_or_of_different_number_are_refused():
    with pytest.raises(ValueError, match="2 and 1 problems, 2 keys"):
        paired_means([[1], [0]], [[1]])
    with pytest.raises(ValueError, match="a problem has no answer"):
        paired_means([[1], []], [[1], [0]])
