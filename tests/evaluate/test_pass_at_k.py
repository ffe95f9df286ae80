"""pass@k by counting subsets, and what it must obey."""

from __future__ import annotations

import itertools
from fractions import Fraction
from random import Random

import pytest

from holdfast.evaluate.pass_at_k import by_problem, pass_at_k, sizes
from holdfast.records import Outcome, Sample


def test_it_is_the_share_of_subsets_that_hold_a_right_answer() -> None:
    for n in range(1, 9):
        for correct in range(n + 1):
            answers = [number < correct for number in range(n)]
            for k in range(1, n + 1):
                subsets = [any(chosen) for chosen in itertools.combinations(answers, k)]
                assert pass_at_k(n, correct, k) == float(Fraction(sum(subsets), len(subsets)))


def test_it_is_unbiased() -> None:
    # Expectation over all 2^n outcomes of n answers, each right with chance p, is 1 - (1 - p)^k exactly.
    p, n = 0.3, 6
    for k in range(1, n + 1):
        mean = sum(
            p ** sum(right) * (1 - p) ** (n - sum(right)) * pass_at_k(n, sum(right), k)
            for right in itertools.product((True, False), repeat=n)
        )
        assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_it_rises_with_k_and_is_exact_for_many_answers() -> None:
    values = [pass_at_k(1000, 1, k) for k in (1, 10, 100, 1000)]
    assert values == [0.001, 0.01, 0.1, 1.0]
    assert pass_at_k(1000, 0, 500) == 0.0


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 5, 2), (4, -1, 2), (4, 2, 5), (4, 2, 0), (0, 0, 1)])
def test_impossible_counts_are_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} of {correct} right among {n}"):
        pass_at_k(n, correct, k)


def test_powers_of_two_up_to_the_answers_are_reported() -> None:
    assert [list(sizes(n)) for n in (1, 2, 3, 6, 16)] == [[], [2], [2], [2, 4], [2, 4, 8, 16]]


def sample(index: int, right: bool, key: str) -> Sample:
    outcome = Outcome.CORRECT if right else Outcome.WRONG
    return Sample(index, key, "all", "?", ("!",), outcome, "", 1 if right else None, float(right), {})


def test_problems_are_told_apart_by_their_place_and_short_ones_are_left_out() -> None:
    rows = [
        sample(0, True, "a"),
        sample(0, False, "a"),
        sample(1, False, "a"),
        sample(1, False, "a"),
        sample(2, True, "b"),
    ]
    Random(0).shuffle(rows)
    assert sorted(by_problem(rows, 2)) == [(0.0, "a"), (1.0, "a")]
    assert sorted(by_problem(rows, 1)) == [(0.0, "a"), (0.5, "a"), (1.0, "b")]
