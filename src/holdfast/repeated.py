"""Two gradings of the same problems, each answered several times by both sides: a paired comparison of their means.

Shapes: ``N`` problems, ``K`` distinct keys. All arithmetic is float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.statistics import FEWEST_CLUSTERS, Paired, _sign_flip, cluster_bootstrap

SEED = 0
"""Of the bootstrap: an interval is a function of the answers alone."""


def paired_means(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], keys: Sequence[str] | None = None
) -> Paired:
    """Compare the means of several answers to each of the same problems.

    Difference: ``d_n`` is the second mean of problem n minus its first, and the difference their mean, so that every
    problem counts the same however often it was answered.

    Interval: BCa bootstrap of the ``d_n`` that draws whole keys (`holdfast.statistics.cluster_bootstrap`). Problems
    differ far more than their changes do; because a draw takes both gradings of a problem, that difference cancels.
    Where all keys changed alike, not at all for instance, each draw is the same and the interval has no width: it then
    speaks of these problems only. None with fewer than `FEWEST_CLUSTERS` keys.

    Test: that of `holdfast.statistics.mcnemar`, with ``d_k`` the right answers gained minus those lost under key k. If
    the two sides answer every problem alike, all answers of a key may trade sides, so each ``d_k`` is as likely
    positive as negative. That holds only if every problem was answered equally often, by both sides, and every answer
    is right or wrong (1 or 0); the p-value is None otherwise. With one answer a problem it is the p-value of `mcnemar`.

    Args:
        first, second: The answers to each problem in the same order of problems, at least one each, in any real grade.
        keys: The key of each problem; all distinct if None.

    Returns:
        ``only_first`` and ``only_second`` count the problems whose first, or second, mean is the larger.

    Raises:
        ValueError: lengths differ, a problem has no answer, or a grade is not finite.

    Example:
        >>> found = paired_means([[0, 0], [1, 0], [1, 1]], [[0, 1], [1, 1], [1, 1]])
        >>> round(found.difference, 3), found.only_first, found.only_second, found.p_value
        (0.333, 0, 2, 0.5)
    """
    names = [str(index) for index in range(len(first))] if keys is None else keys
    if len(first) != len(second) or len(first) != len(names):
        raise ValueError(f"{len(first)} and {len(second)} problems, {len(names)} keys: give each problem one of each")
    counts = {len(answers) for answers in (*first, *second)}
    if 0 in counts:
        raise ValueError("a problem has no answer: leave it out of both sides")
    if not len(first):
        return Paired(0, 0, 0, 0, None, None, None, None, None)
    change_N = np.array([np.mean(b) - np.mean(a) for a, b in zip(first, second, strict=True)], dtype=np.float64)
    told = cluster_bootstrap(change_N.tolist(), names, seed=SEED)
    low, high = told.low, told.high
    if low is None and told.clusters >= FEWEST_CLUSTERS:  # all keys changed alike
        low = high = told.value
    plain = len(counts) == 1 and {float(grade) for answers in (*first, *second) for grade in answers} <= {0.0, 1.0}
    gained_N = np.rint(change_N * max(counts))
    _, inverse_N = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
    return Paired(
        n=len(first),
        clusters=told.clusters,
        only_first=int((change_N < 0).sum()),
        only_second=int((change_N > 0).sum()),
        difference=told.value,
        low=low,
        high=high,
        p_value=_sign_flip(np.bincount(inverse_N, weights=gained_N).astype(np.float64)) if plain else None,
        p_value_unclustered=_sign_flip(gained_N) if plain else None,
        method="means",
    )
