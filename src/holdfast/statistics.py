"""Rates and estimates that know their n: Wilson, exact McNemar, cluster bootstrap.

Shapes: ``N`` graded problems. Nothing here guesses: too few observations give None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The point estimate, None if there is nothing to estimate from.
        low, high: The interval's ends, None if unknown.
        n: Graded problems.
        clusters: Distinct problems among them (for example distinct value multisets).
        method: ``wilson``, ``wilson_clusters`` or ``cluster_bootstrap``.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(self.__dict__)

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Estimate:
        """Inverse of `to_json`."""
        return Estimate(**row)


@dataclass(frozen=True)
class Rate:
    """Successes out of trials.

    Example:
        >>> Rate(45, 234).value
        0.19230769230769232
        >>> [round(end, 3) for end in Rate(42, 234).wilson()]
        [0.136, 0.234]
    """

    successes: float
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= max(self.trials, 0):
            raise ValueError(f"a rate needs 0 <= successes <= trials, got {self.successes} of {self.trials}")

    @property
    def value(self) -> float | None:
        """Successes divided by trials; None without trials."""
        return self.successes / self.trials if self.trials else None

    def wilson(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the ends of Wilson's score interval; (0, 1) without trials.

        ``successes`` need not be whole: a mean over clusters may be given as an effective count.
        Reference: Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small n.
        """
        if not self.trials:
            return 0.0, 1.0
        z = _normal_quantile(0.5 + confidence / 2)
        n, p = self.trials, self.successes / self.trials
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, center - reach), min(1.0, center + reach)
