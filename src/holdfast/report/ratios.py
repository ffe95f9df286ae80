"""The ratio of two sums of success rates, with Fieller's interval: other seeds and other problems, as everywhere.

A ratio r of sums N and D is not refuted as long as the interval of N − r·D holds 0; the interval of the ratio is the
set of all such r (Fieller 1954). It is an interval around N / D only where D itself is told apart from 0: a recovery
of what was hardly lost is no number, and has none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from holdfast.records import Estimate
from holdfast.report.contrasts import Term, measure

WIDEST = 64.0
"""Ratios beyond this are as good as unbounded."""
HALVINGS = 24


def ratio(over: Sequence[Term], under: Sequence[Term]) -> Estimate | None:
    """Return the ratio of two weighted sums; None if one was not measured.

    ``value`` is None where ``under`` is not told apart from 0, and an end is None where it lies beyond ``WIDEST``.
    """
    whole, part = measure(under), measure(over)
    if whole is None or part is None or whole.estimate.value is None or part.estimate.value is None:
        return None
    told = whole.estimate
    if told.low is None or told.high is None or told.low <= 0 <= told.high:
        return replace(part.estimate, value=None, low=None, high=None)
    value = part.estimate.value / told.value if told.value else None
    assert value is not None
    return replace(
        part.estimate,
        value=value,
        low=_end(over, under, value, -1.0),
        high=_end(over, under, value, 1.0),
    )


def _end(over: Sequence[Term], under: Sequence[Term], value: float, sign: float) -> float | None:
    """Return the ratio farthest from ``value`` to one side that is not refuted."""
    inside, outside = 0.0, 0.125
    while not _refuted(over, under, value + sign * outside):
        inside, outside = outside, 2 * outside
        if outside > WIDEST:
            return None
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if _refuted(over, under, value + sign * middle):
            outside = middle
        else:
            inside = middle
    return value + sign * inside


def _refuted(over: Sequence[Term], under: Sequence[Term], one: float) -> bool:
    found = measure([*over, *(replace(term, weight=-one * term.weight) for term in under)])
    if found is None or found.estimate.low is None or found.estimate.high is None:
        return True
    return not found.estimate.low <= 0 <= found.estimate.high
