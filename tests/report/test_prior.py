"""What a base expects of its training answers, and which exponent follows."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.report.prior import prior
from holdfast.report.token_profile import Profile, Targets


def a_profile(p: list[float]) -> Profile:
    targets = Targets(("a",) * len(p), (False,) * len(p), tuple(str(n // 2) for n in range(len(p))))
    return Profile(targets, {"base": np.array(p), "tuned": np.ones(len(p))})


@pytest.mark.parametrize(
    ("p", "words"),
    [
        ([0.9, 0.99, 0.8, 0.7, 0.95, 0.98], "alpha 1 or more"),
        ([0.5, 0.6, 0.2, 0.9, 0.4, 0.4], "no exponent won"),
        ([0.01, 0.0, 0.1, 0.02, 0.3, 0.04], "plain nll"),
    ],
)
def test_the_mean_target_probability_of_the_base_suggests_an_exponent(p: list[float], words: str) -> None:
    found = prior(a_profile(p))
    assert found.mean.value == pytest.approx(np.mean(p))
    assert found.low == pytest.approx(np.mean(np.array(p) < 0.05))
    assert found.high == pytest.approx(np.mean(np.array(p) > 0.95))
    assert (found.tokens, found.rows) == (6, 3)
    assert words in found.suggestion
    assert words in found.in_words()
