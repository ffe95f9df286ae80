"""pass@k: how often at least one of k answers to a problem is right, estimated from n >= k answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from holdfast.records import Outcome, Sample


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of pass@k from ``correct`` right answers among ``n``.

    It is the share of the ways to choose k of the n answers that hold a right one::

        1 - C(n - correct, k) / C(n, k)

    ``1 - (1 - correct / n)^k`` would be too low: it chooses with replacement. k = n is 1 if any answer is right.

    Args:
        n: Answers to the problem.
        correct: Right ones among them, 0 to n.
        k: 1 to n; at 1 it is the share of right answers.

    Reference: Chen et al. 2021 (arXiv 2107.03374), equation 1. Exact whole numbers here instead of their product.

    Example:
        >>> pass_at_k(4, 1, 2)
        0.5
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {correct} right among {n} answers: give 0 <= correct <= n and 1 <= k <= n")
    total = math.comb(n, k)
    return (total - math.comb(n - correct, k)) / total


def sizes(samples: int) -> Iterator[int]:
    """Yield the k that are reported: powers of two from 2 up to the answers that were drawn.

    Example:
        >>> list(sizes(16)), list(sizes(1))
        ([2, 4, 8, 16], [])
    """
    k = 2
    while k <= samples:
        yield k
        k *= 2


def by_problem(samples: Iterable[Sample], k: int) -> list[tuple[float, str]]:
    """Return pass@k of each problem with its key, by first attempts; problems with fewer than k answers are left out.

    A problem is an index of the suite: two rows of one key are two problems that an interval counts once.
    """
    answers: dict[tuple[int, int, str], list[bool]] = {}
    for sample in samples:
        answers.setdefault((sample.index, sample.step, sample.key), []).append(sample.outcome is Outcome.CORRECT)
    return [(pass_at_k(len(right), sum(right), k), key) for (_, _, key), right in answers.items() if len(right) >= k]
