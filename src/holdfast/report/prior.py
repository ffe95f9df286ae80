"""How much an untrained model expects its training answers already, and which power of p the literature suggests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.token_profile import HIGH, LOW, Profile
from holdfast.statistics import cluster_bootstrap

STRONG, WEAK = 0.7, 0.2
"""Ours: the paper orders domains by the base's mean target probability (mathematics high, medicine in the middle,
puzzles that the model cannot know near 0); the borders between are not its."""


@dataclass(frozen=True)
class Prior:
    """The base's probability of target tokens.

    Attributes:
        mean: With an interval that counts rows.
        low, high: Shares of tokens below 0.05 and above 0.95.
        tokens, rows: How many were asked.
    """

    mean: Estimate
    low: float
    high: float
    tokens: int
    rows: int

    @property
    def suggestion(self) -> str:
        """The exponent that "Beyond log likelihood" (arXiv 2510.00526) found best at such a mean, and why."""
        value = self.mean.value or 0.0
        if value >= STRONG:
            return (
                "the base expects most of these tokens: powers of p with alpha 1 or more (dft) won in such domains, "
                "because what is improbable there is mostly noise"
            )
        if value <= WEAK:
            return (
                "the base expects almost none of these tokens: plain nll (alpha 0) won in such domains; dft would "
                "hardly learn, because its gradient vanishes where p is near 0"
            )
        return "between: no exponent won in such domains; start with nll and compare"

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "mean": [self.mean.value, self.mean.low, self.mean.high],
            "below_0.05": self.low,
            "above_0.95": self.high,
            "tokens": self.tokens,
            "rows": self.rows,
            "suggestion": self.suggestion,
        }

    def in_words(self) -> str:
        """Return two lines for a terminal."""
        return (
            f"the base gives its target tokens {words.percent(self.mean.value)} on average "
            f"{words.interval(self.mean.low, self.mean.high)}; {words.percent(self.low)} are below {LOW:g} and "
            f"{words.percent(self.high)} above {HIGH:g} ({self.tokens:,} tokens of {self.rows:,} rows)\n"
            f"{self.suggestion} (arXiv 2510.00526; objective: {{name: power, alpha: …}})"
        )


def prior(profile: Profile) -> Prior:
    """Return what the first model of a profile, the base, expects."""
    p_N = next(iter(profile.models.values()))
    rows = profile.targets.rows
    return Prior(
        cluster_bootstrap([float(p) for p in p_N], rows, seed=0),
        float(np.mean(p_N < LOW)),
        float(np.mean(p_N > HIGH)),
        len(p_N),
        len(set(rows)),
    )
