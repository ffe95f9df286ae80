from __future__ import annotations

import itertools
import math

import pytest

from holdfast.train.schedule import learning_rate, moments, warmup


def rates(shape: str, total: int, warm: int) -> list[float]:
    return [learning_rate(shape, step, peak=1.0, total=total, warmup_steps=warm) for step in range(total)]  # type: ignore[arg-type]


def test_no_step_has_rate_zero() -> None:
    for shape in ("constant", "constant_with_warmup", "linear", "cosine"):
        assert min(rates(shape, 20, 5)) > 0


def test_warm_up_is_linear_and_ends_at_the_peak() -> None:
    assert rates("constant_with_warmup", 8, 3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert rates("constant", 4, 3) == [1, 1, 1, 1]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    # Derivation: after 10 warm-up steps, half of the other 100 lies at step 60: (1 + cos(pi / 2)) / 2 = 0.5.
    assert learning_rate("cosine", 60, peak=2.0, total=110, warmup_steps=10) == pytest.approx(1.0)
    assert learning_rate("cosine", 35, peak=2.0, total=110, warmup_steps=10) == pytest.approx(1 + math.cos(math.pi / 4))


def test_warm_up_below_one_is_a_share() -> None:
    assert (warmup(0.03, total=200), warmup(12, total=200), warmup(0, total=200)) == (6, 12, 0)


def test_moments_hold_both_ends_and_nothing_beyond() -> None:
    assert moments("end", total=7) == (0, 7)
    assert moments(3, total=7) == (0, 3, 6, 7)
    assert moments([2, 9], total=7) == (0, 2, 7)
    assert moments("log", total=1) == (0, 1)


def test_log_moments_are_dense_early() -> None:
    steps = moments("log", total=1000)
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert gaps == sorted(gaps)
    assert steps[1] < 10
