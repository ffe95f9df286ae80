"""The same problems in two gradings of one suite, whether each was answered once or several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.records import Outcome, Sample
from holdfast.repeated import paired_means
from holdfast.statistics import Paired, mcnemar


class Both(NamedTuple):
    """One problem in two gradings.

    Attributes:
        key: Its cluster.
        first, second: Whether each answer to it is right.
    """

    key: str
    first: tuple[bool, ...]
    second: tuple[bool, ...]


def solved(sample: Sample) -> bool:
    """Whether the first attempt is correct."""
    return sample.outcome is Outcome.CORRECT


def place_of(sample: Sample) -> tuple[int, int, str]:
    """Return what tells the questions of a suite apart: the problem, its step, its key."""
    return sample.index, sample.step, sample.key


def matched(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Pair two gradings of one suite answer by answer; problems that only one of them holds are left out.

    Empty where a problem was answered several times: samples of one problem have no partners. `both` pairs problems.
    """
    others = {place_of(sample): sample for sample in second}
    if len(others) != len(second) or len({place_of(sample) for sample in first}) != len(first):
        return []
    return [(sample, others[place]) for sample in first if (place := place_of(sample)) in others]


def both(first: Sequence[Sample], second: Sequence[Sample]) -> list[Both]:
    """Pair two gradings of one suite problem by problem; problems that only one of them holds are left out."""
    ours, theirs = _by_place(first), _by_place(second)
    return [Both(place[2], tuple(ours[place]), tuple(theirs[place])) for place in ours if place in theirs]


def compared(problems: Sequence[Both]) -> Paired | None:
    """Compare the two gradings: exactly where each problem was answered once, else by the means of its answers.

    Returns:
        `holdfast.statistics.mcnemar` or `holdfast.repeated.paired_means`; None without a problem.
    """
    if not problems:
        return None
    keys = [problem.key for problem in problems]
    if all(len(problem.first) == len(problem.second) == 1 for problem in problems):
        return mcnemar([problem.first[0] for problem in problems], [problem.second[0] for problem in problems], keys)
    return paired_means([problem.first for problem in problems], [problem.second for problem in problems], keys)


def _by_place(samples: Sequence[Sample]) -> dict[tuple[int, int, str], list[bool]]:
    found: dict[tuple[int, int, str], list[bool]] = {}
    for sample in samples:
        found.setdefault(place_of(sample), []).append(solved(sample))
    return found
