"""Means and contrasts whose intervals speak of other seeds *and* other problems.

All seeds of a study answer the same problems, so the two are crossed, not nested. With ``x_sn`` the outcome of problem
n under seed s, ``m_s`` the mean of seed s and ``m`` their mean (a plain two-way layout, random in both)::

    A = Σ_s (m_s - m)² / (S (S - 1))                      from other seeds
    B = K / (K - 1) · Σ_k (Σ_{n in k} (x̄_n - x̄))² / N²     from other problems; those of one key k count once
    variance = A + B        df = (A + B)² / (A² / (S - 1) + B² / (K - 1))       (Satterthwaite 1946)

What is left over of seed and problem together is in A and in B, hence counted twice: the interval errs on the wide
side. With three seeds and most of the variance between them, df is near 2 and the interval 4.3 standard errors each
way: that is what three seeds are worth. With one seed A is unknown, and the interval speaks of other problems only.

Shapes: ``S`` seeds, ``N`` problems, ``K`` distinct keys. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from holdfast.statistics import Estimate

BOTH, PROBLEMS, SEEDS = "seeds and problems", "problems", "seeds"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Crossed:
    """One suite's share of a contrast.

    Attributes:
        values_SN: What each seed's answer to each problem contributes.
        keys: The key of each problem, N of them.
        reach: Half of the distance between the largest and the smallest possible value: 1 for the difference of two
            successes, 0.5 for one success.
    """

    values_SN: NDArray[np.float64]
    keys: Sequence[str]
    reach: float


def contrast(parts: Sequence[Crossed]) -> Estimate:
    """Return the sum over parts of the mean over seeds and problems, with its interval (see the module docstring).

    Every part has the same seeds in the same order; their problems are different ones. So that answers which happen to
    agree everywhere do not look like certainty, two pseudo-problems at the ends of the possible values enter each
    part's variance (Agresti and Min 2005 for paired proportions): ``B + (reach / (n_eff + 2))²``, with n_eff Kish's
    number of problems. The value itself is the plain one.

    ``n`` is the number of graded answers, ``method`` says what the interval speaks of.

    Raises:
        ValueError: there is no part, seeds differ between parts, or a part has no problem.
    """
    if not parts or len({part.values_SN.shape[0] for part in parts}) != 1 or min(p.values_SN.size for p in parts) == 0:
        raise ValueError(f"a contrast needs parts with the same seeds, got {[part.values_SN.shape for part in parts]}")
    seeds = parts[0].values_SN.shape[0]
    means_S = np.sum([part.values_SN.mean(axis=1) for part in parts], axis=0)
    value, n = float(means_S.mean()), sum(part.values_SN.size for part in parts)
    spread = [_problems(part) for part in parts]
    clusters = min(count for _, count, _ in spread)
    from_problems = [(b + (part.reach / (kish + 2)) ** 2, k) for part, (b, k, kish) in zip(parts, spread, strict=True)]
    if clusters < 2:
        return Estimate(value, None, None, n, clusters, BOTH if seeds > 1 else PROBLEMS)
    terms = [(b, k - 1) for b, k in from_problems]
    if seeds > 1:
        terms.append((_between(means_S), seeds - 1))
    reach = _reach(terms)
    return Estimate(value, value - reach, value + reach, n, clusters, BOTH if seeds > 1 else PROBLEMS)


def rate(values_SN: NDArray[np.float64], keys: Sequence[str]) -> Estimate:
    """Return a success rate over seeds and problems with a Wilson interval that stays within 0 and 1.

    Wilson's interval with the quantile of t for df, and with the number of observations that has the variance of this
    rate: ``n = p (1 - p) / (A + B)``. Problems that agree by chance must not look like more than they are, so ``n`` is
    at most Kish's number of distinct problems, or what is left of ``p (1 - p) / (A + B + B₀)`` if that is more: then
    problems of one key, such as the steps of one route, were seen to differ. ``B₀ = (½ / (n_eff + 2))²`` as in
    `contrast`. It is never more than the number of problems of one seed.

    Raises:
        ValueError: there is no seed or no problem.
    """
    if not values_SN.size:
        raise ValueError(f"a rate needs seeds and problems, got {values_SN.shape}")
    seeds, value = values_SN.shape[0], float(values_SN.mean())
    b, clusters, kish = _problems(Crossed(values_SN, keys, 0.5))
    terms = [(b, max(clusters - 1, 1))]
    if seeds > 1:
        terms.append((_between(values_SN.mean(axis=1)), seeds - 1))
    variance, single = sum(term for term, _ in terms), value * (1 - value)
    effective = kish
    if variance > 0 and single > 0:
        seen = single / (variance + (0.5 / (kish + 2)) ** 2)
        effective = max(min(kish, single / variance), min(values_SN.shape[1], seen))
    low, high = _score(value, max(1.0, effective), _quantile(terms))
    return Estimate(value, low, high, values_SN.size, clusters, BOTH if seeds > 1 else PROBLEMS)


def of_seeds(values_S: Sequence[float]) -> Estimate:
    """Return the mean of one number a seed with Student's interval; without interval for fewer than two seeds.

    For numbers that are no means over problems, such as the step at which a level was reached.
    """
    if not values_S:
        return Estimate(None, None, None, 0, 0, SEEDS)
    values = np.asarray(values_S, dtype=np.float64)
    value = float(values.mean())
    if len(values) < 2 or np.ptp(values) == 0:
        return Estimate(value, None, None, len(values), len(values), SEEDS)
    reach = _reach([(_between(values), len(values) - 1)])
    return Estimate(value, value - reach, value + reach, len(values), len(values), SEEDS)


def of_estimates(found: Sequence[Estimate], *, log: bool = False) -> Estimate:
    """Return the mean over seeds of a number that each seed tells with an interval over problems.

    All seeds ask the same problems, so the variance within a seed does not shrink with their number: B is taken as the
    mean of (half of the interval / 1.96)², with one degree of freedom less than there are distinct problems, and added
    to that between seeds. Where a seed has no interval, it speaks of other seeds alone;
    where one is open to a side there is none.

    Args:
        found: One a seed.
        log: Whether to work on logarithms, for ratios; the value is then the geometric mean.

    Raises:
        ValueError: ``log`` of a number that is not positive.
    """
    values, terms = _with_problems(found, log)
    if any(_open(one, log) for one in found):
        told = replace(of_seeds(values), low=None, high=None)
    elif len(terms) < 1 + (len(values) > 1):
        told = of_seeds(values)
    else:
        value, reach = sum(values) / len(values), _reach(terms)
        method = BOTH if len(values) > 1 else PROBLEMS
        told = Estimate(value, value - reach, value + reach, sum(one.n for one in found), terms[0][1] + 1, method)
    back: Callable[[float], float] = math.exp if log else float
    middle, low, high = (None if number is None else back(number) for number in (told.value, told.low, told.high))
    return Estimate(middle, low, high, told.n, told.clusters, told.method)


def _open(one: Estimate, log: bool) -> bool:
    """Whether an interval over problems has one end only: other problems might give anything to that side."""
    low = None if log and one.low is not None and one.low <= 0 else one.low
    return (low is None) != (one.high is None)


def p_of_ratio(found: Sequence[Estimate]) -> float | None:
    """Return the two-sided p of a geometric mean over seeds against 1, by the t of `of_estimates`; None if unknown."""
    from scipy.special import stdtr  # here, because printing a table must not pay for importing it

    values, terms = _with_problems(found, log=True)
    total = sum(variance for variance, _ in terms)
    if not values or total <= 0:
        return None
    t = abs(sum(values) / len(values)) / math.sqrt(total)
    return float(2 * stdtr(_freedom(terms), -t))


def _with_problems(found: Sequence[Estimate], log: bool) -> tuple[list[float], list[tuple[float, int]]]:
    """Return the values, and variances with their degrees of freedom: of problems, if all tell it, and of seeds."""
    turn: Callable[[float], float] = math.log if log else float
    known = [one for one in found if one.value is not None]
    values = [turn(one.value) for one in known if one.value is not None]
    ends = [
        (turn(one.low), turn(one.high))
        for one in known
        if one.low is not None and one.high is not None and not (log and one.low <= 0)
    ]
    terms: list[tuple[float, int]] = []
    if known and len(ends) == len(known):
        z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
        inner = sum(((high - low) / (2 * z)) ** 2 for low, high in ends) / len(ends)
        terms.append((inner, max(min(one.clusters for one in known) - 1, 1)))
    if len(values) > 1:
        terms.append((_between(np.asarray(values, dtype=np.float64)), len(values) - 1))
    return values, terms


def _problems(part: Crossed) -> tuple[float, int, float]:
    """Return B, the number of distinct keys, and Kish's number of problems."""
    mean_N = part.values_SN.mean(axis=0)
    _, inverse_N, counts_K = np.unique(np.asarray(part.keys, dtype=np.str_), return_inverse=True, return_counts=True)
    sums_K = np.bincount(inverse_N, weights=mean_N - mean_N.mean(), minlength=len(counts_K))
    clusters, n = len(counts_K), len(mean_N)
    kish = float(n) ** 2 / float((counts_K.astype(np.float64) ** 2).sum())
    if clusters < 2:
        return 0.0, clusters, kish
    return float(clusters / (clusters - 1) * (sums_K**2).sum() / n**2), clusters, kish


def _between(means_S: NDArray[np.float64]) -> float:
    return float(means_S.var(ddof=1) / len(means_S))


def _score(p: float, n: float, z: float) -> tuple[float, float]:
    """Return the ends of Wilson's score interval for a share of n observations at z standard errors."""
    center, reach = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (center - reach) / (1 + z * z / n), (center + reach) / (1 + z * z / n)
    # at p = 0 and 1 the near end is p itself; rounding would put it a hair beyond
    return (0.0 if p == 0 else max(0.0, low)), (1.0 if p == 1 else min(1.0, high))


def _reach(terms: Sequence[tuple[float, int]]) -> float:
    return _quantile(terms) * math.sqrt(sum(variance for variance, _ in terms))


def _quantile(terms: Sequence[tuple[float, int]]) -> float:
    """Return the quantile of t for a sum of independent variances, each with its degrees of freedom."""
    from scipy.special import stdtrit  # here, because printing a table must not pay for importing it

    if sum(variance for variance, _ in terms) <= 0:
        return NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    return float(stdtrit(_freedom(terms), 0.5 + CONFIDENCE / 2))


def _freedom(terms: Sequence[tuple[float, int]]) -> float:
    """Return the degrees of freedom of a sum of variances that is not 0 (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in terms)
    return total**2 / sum(variance**2 / df for variance, df in terms)
