"""Rates and estimates that know their n: Wilson, exact McNemar, cluster bootstrap.

Two graded problems with one *key* are one problem asked twice (for example the hands ``J 5 2 3`` and ``K 5 2 3`` where
faces count 10). Everything here lets a key count once, so that asking the same thing again never narrows an interval.

Shapes: ``N`` graded problems, ``K`` distinct keys, ``D`` bootstrap draws. Nothing here guesses: too few observations
give None, never 0. All arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST_CLUSTERS = 5
"""K keys have C(2K-1, K) distinct bootstrap draws: 35 for K = 4, so that a tail of 2.5 % is less than one of them."""


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
        return _wilson(self.successes / self.trials, self.trials, confidence)


@dataclass(frozen=True)
class Paired:
    """Two sides that answered each of the same problems, once or several times, compared.

    Attributes:
        n: Problems answered twice.
        clusters: Distinct keys among them.
        only_first: Problems that only the first answer solves; of several answers, of which the first has more right.
        only_second: Problems that only the second answer solves, or of which the second has more right.
        difference: Success of the second minus success of the first, over problems; None if n is 0.
        low, high: Its 95 % interval; None if n is 0, or too few keys to bootstrap.
        p_value: Exact two-sided test of "no difference" in which each key counts once; None if n is 0. Where all keys
            are distinct it is the exact McNemar test. None too where answers are unequally many or graded.
        p_value_unclustered: The exact McNemar test over problems, as if all keys were distinct. Shown for comparison
            with other people's tables; too small where keys repeat.
        method: ``mcnemar`` for one answer a problem, ``means`` for several (`holdfast.repeated.paired_means`).
    """

    n: int
    clusters: int
    only_first: int
    only_second: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_value_unclustered: float | None
    method: str = "mcnemar"


def rate_by_cluster(successes: Sequence[bool | float], keys: Sequence[str]) -> Estimate:
    """Return the success rate over problems, with a Wilson interval in which each key counts once.

    With ``m_k`` problems under key k, the value is the plain mean p over all ``N = Σ m_k`` problems: what a reader
    counts. Its interval is Wilson's with p and the effective number of problems (Kish 1965)::

        n_eff = (Σ m_k)² / Σ m_k²        1 <= n_eff <= K <= N

    That is the variance of p if all problems of one key succeed or fail together: the worst case, so the interval is
    too wide rather than too narrow where they do not. n_eff is K for keys of equal size and N if all keys are
    distinct (``method`` is then ``wilson``, else ``wilson_clusters``). K itself would be too many when sizes differ:
    one key asked 100 times and ten asked once are not eleven observations of this mean.

    Args:
        successes: One value a problem, in [0, 1]; a graded value between has at most the variance of a success.
        keys: The key of each problem.

    Raises:
        ValueError: lengths differ, or a value lies outside [0, 1].
    """
    values_N, _, counts_K = _clusters(successes, keys)
    if not len(values_N):
        return Estimate(None, None, None, 0, 0, "wilson")
    if values_N.min() < 0 or values_N.max() > 1:
        raise ValueError(f"successes must lie in [0, 1], got {values_N.min()} to {values_N.max()}")
    n, clusters, value = len(values_N), len(counts_K), float(values_N.mean())
    low, high = _wilson(value, _effective(counts_K))
    return Estimate(value, low, high, n, clusters, "wilson" if clusters == n else "wilson_clusters")


def cluster_bootstrap(values: Sequence[float], keys: Sequence[str], *, seed: int, draws: int = 2_000) -> Estimate:
    """Return the mean over problems with a BCa bootstrap interval that draws whole keys.

    For graded or repeated results: any real values, for example rewards or differences of rewards. One draw takes K
    keys with replacement and divides the sum of their values by the number of their problems. The interval is
    bias-corrected and accelerated (BCa, Efron 1987; acceleration by leaving out one key at a time), because percentiles
    of a skewed mean are shifted.

    The interval is None with fewer than `FEWEST_CLUSTERS` keys, and where every key has the same mean: a bootstrap of
    constants has width 0, which is not knowledge. For values in [0, 1], `rate_by_cluster` answers there too.

    Raises:
        ValueError: lengths differ, or a value is not finite.
    """
    values_N, inverse_N, counts_K = _clusters(values, keys)
    n, clusters = len(values_N), len(counts_K)
    if not n:
        return Estimate(None, None, None, 0, 0, "cluster_bootstrap")
    sums_K = _sums(values_N, inverse_N, clusters)
    value = float(values_N.mean())
    means_K = sums_K / counts_K
    if clusters < FEWEST_CLUSTERS or np.ptp(means_K) <= 1e-12 * np.abs(means_K).max():
        return Estimate(value, None, None, n, clusters, "cluster_bootstrap")
    means_D = _resample(sums_K, counts_K, seed=seed, draws=draws)
    low, high = _bca(means_D, value, jackknife_K=(sums_K.sum() - sums_K) / (n - counts_K))
    return Estimate(value, low, high, n, clusters, "cluster_bootstrap")


def mcnemar(first: Sequence[bool], second: Sequence[bool], keys: Sequence[str] | None = None) -> Paired:
    """Compare two answers to each of the same problems.

    Test: let ``d_k`` be the gains minus the losses among the problems of key k. If nothing changed, each ``d_k`` is as
    likely positive as negative, so the p-value is the share of all 2^K sign patterns whose ``|Σ ± d_k|`` is at least
    the observed one. It is exact (the distribution of the sum is built key by key, no sampling) and equals McNemar's
    exact test if no key has more than one changed problem. The cost grows with the square of the changed problems:
    0.3 s for 10,000.

    Interval: Newcombe's square-and-add method for paired proportions (1998, method 10) on Wilson intervals with the
    effective number of problems of `rate_by_cluster`. It can exclude 0 where the exact test does not reject, or the
    reverse: they answer one question by two approximations.

    Args:
        first, second: Whether each problem was solved, in the same order.
        keys: The key of each problem; all distinct if None.

    Raises:
        ValueError: lengths differ.

    Example:
        >>> result = mcnemar([True, True, True, False], [False, False, True, False])
        >>> result.only_first, result.only_second, result.difference, result.p_value
        (2, 0, -0.5, 0.5)
    """
    names = [str(index) for index in range(len(first))] if keys is None else keys
    first_N, inverse_N, counts_K = _clusters(first, names)
    second_N, _, _ = _clusters(second, names)
    if not len(first_N):
        return Paired(0, 0, 0, 0, None, None, None, None, None)
    change_N = second_N - first_N
    only_first, only_second = int((change_N < 0).sum()), int((change_N > 0).sum())
    low, high = _newcombe(first_N, second_N, _effective(counts_K))
    change_K = _sums(change_N, inverse_N, len(counts_K))
    return Paired(
        n=len(first_N),
        clusters=len(counts_K),
        only_first=only_first,
        only_second=only_second,
        difference=float(change_N.mean()),
        low=low,
        high=high,
        p_value=_sign_flip(change_K),
        p_value_unclustered=_binomial_half(only_first, only_second),
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for being several (Holm 1979): rejecting those <= α errs anywhere with at most α.

    Sorted ascending, the i-th of m (from 0) becomes ``max over j <= i of min(1, (m - j) p_j)``. None stays None and
    does not count.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, position) in enumerate(known):
        so_far = max(so_far, min(1.0, (len(known) - rank) * p))
        adjusted[position] = so_far
    return adjusted


def _clusters(
    values: Sequence[bool | float], keys: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return values (N,), the cluster number of each (N,), and the size of each cluster (K,)."""
    if len(values) != len(keys):
        raise ValueError(f"{len(values)} values but {len(keys)} keys: give one key a problem")
    values_N = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values_N).all():
        raise ValueError("a value is NaN or infinite; leave unknown results out instead")
    # return_inverse of NumPy 2.0 keeps the input's shape; keys are a flat list, so it is (N,) in every version
    _, inverse_N, counts_K = np.unique(np.asarray(keys, dtype=np.str_), return_inverse=True, return_counts=True)
    return values_N, inverse_N, counts_K


def _sums(values_N: NDArray[np.float64], inverse_N: NDArray[np.intp], clusters: int) -> NDArray[np.float64]:
    return np.bincount(inverse_N, weights=values_N, minlength=clusters).astype(np.float64)


def _effective(counts_K: NDArray[np.intp]) -> float:
    return float(counts_K.sum()) ** 2 / float((counts_K.astype(np.float64) ** 2).sum())


def _wilson(p: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    z = _normal_quantile(0.5 + confidence / 2)
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # at p = 0 and 1 the near end is p itself; rounding would put it a hair beyond
    return (0.0 if p == 0 else max(0.0, center - reach)), (1.0 if p == 1 else min(1.0, center + reach))


def _newcombe(first_N: NDArray[np.float64], second_N: NDArray[np.float64], n: float) -> tuple[float, float]:
    p1, p2 = float(first_N.mean()), float(second_N.mean())
    low1, high1 = _wilson(p1, n)
    low2, high2 = _wilson(p2, n)
    both = float((first_N * second_N).mean())
    # φ of the 2 × 2 table, its numerator a·d - b·c drawn towards 0 by half an observation if positive (Newcombe's c)
    numerator = both - p1 * p2
    if numerator > 0:
        numerator = max(0.0, numerator - 1 / (2 * n))
    scale = math.sqrt(p1 * (1 - p1) * p2 * (1 - p2))
    phi = numerator / scale if scale else 0.0
    down2, up2, down1, up1 = p2 - low2, high2 - p2, p1 - low1, high1 - p1
    low = p2 - p1 - math.sqrt(max(0.0, down2**2 - 2 * phi * down2 * up1 + up1**2))
    high = p2 - p1 + math.sqrt(max(0.0, up2**2 - 2 * phi * up2 * down1 + down1**2))
    return max(-1.0, low), min(1.0, high)


def _sign_flip(change_K: NDArray[np.float64]) -> float:
    """Return P(|Σ ± d_k| >= |Σ d_k|) over all sign patterns, exactly; ``d_k`` are whole numbers."""
    sizes = [int(size) for size in np.abs(np.rint(change_K)) if size]
    total, observed = sum(sizes), abs(int(np.rint(change_K.sum())))
    chance = np.zeros(total + 1)  # chance[x] = P(the positive signs add up to x)
    chance[0] = 1.0
    for size in sizes:
        moved = chance / 2
        moved[size:] += chance[: total + 1 - size] / 2
        chance = moved
    extreme = np.abs(2 * np.arange(total + 1) - total) >= observed
    return min(1.0, float(chance[extreme].sum()))


def _binomial_half(one: int, other: int) -> float:
    if one == other == 0:
        return 1.0
    from scipy.special import bdtr  # here, because checking a recipe must not pay for importing it

    # at chance 1/2 both tails are equal
    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5)))


def _resample(sums_K: NDArray[np.float64], counts_K: NDArray[np.intp], *, seed: int, draws: int) -> NDArray[np.float64]:
    clusters, generator = len(sums_K), np.random.default_rng(seed)
    block = max(1, 2**21 // clusters)  # at most 16 MB of indices at a time
    means = []
    for start in range(0, draws, block):
        chosen_DK = generator.integers(clusters, size=(min(block, draws - start), clusters))
        means.append(sums_K[chosen_DK].sum(axis=1) / counts_K[chosen_DK].sum(axis=1))
    return np.concatenate(means)


def _bca(
    means_D: NDArray[np.float64], value: float, *, jackknife_K: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    normal, draws = NormalDist(), len(means_D)
    below = (np.sum(means_D < value) + 0.5 * np.sum(means_D == value)) / draws
    # a share of 0 or 1 would send the bias to infinity; half a draw is as much as D draws can tell
    bias = normal.inv_cdf(float(np.clip(below, 0.5 / draws, 1 - 0.5 / draws)))
    spread_K = jackknife_K.mean() - jackknife_K
    acceleration = float((spread_K**3).sum() / (6 * (spread_K**2).sum() ** 1.5))
    ends = []
    for tail in (0.5 - confidence / 2, 0.5 + confidence / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(means_D, ends)
    return float(low), float(high)


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
