"""Weighted sums of success rates of arms at moments, from the graded problems where they were kept.

A difference of two arms, the change of one since its base, the gap between two suites: each is a list of `Term`. Terms
on one suite are matched problem by problem, and all terms seed by seed; the interval speaks of other seeds and other
problems (`holdfast.report.over_seeds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.records import Estimate
from holdfast.report import over_seeds
from holdfast.report.compare import Arm, end_of, grade
from holdfast.report.pairing import place_of
from holdfast.report.run_data import RunData

Place = tuple[int, int, str]
Moments = Mapping[int, tuple[int, ...]]
"""Seed to the steps that count; several are averaged."""


@dataclass(frozen=True)
class Term:
    """One rate with its sign.

    Attributes:
        arm, suite: Whose answers to what.
        moments: When, for each seed.
        weight: Factor of the rate.
    """

    arm: Arm
    suite: str
    moments: Moments
    weight: float = 1.0


@dataclass(frozen=True)
class Contrast:
    """What a sum of terms came to.

    Attributes:
        estimate: Mean over seeds with its interval; ``estimate.method`` says over what.
        by_seed: The value of each seed that all terms share.
    """

    estimate: Estimate
    by_seed: Mapping[int, float]


def base(arm: Arm) -> Moments:
    """The moment before training."""
    return {run.seed: (0,) for run in arm.measured if run.record_at(0) is not None}


def end(arm: Arm, suite: str, metric: str = "success") -> Moments:
    """The last moment at which each run measured the suite."""
    found = {run.seed: end_of(run, suite, metric) for run in arm.measured}
    return {seed: (record.step,) for seed, record in found.items() if record is not None}


def late(arm: Arm, suite: str, metric: str = "success") -> Moments:
    """All moments in the second half of training, to be averaged."""
    steps = common_steps(arm, suite, metric)
    return {run.seed: tuple(step for step in steps if 2 * step >= steps[-1]) for run in arm.measured} if steps else {}


def best(arm: Arm, suite: str, metric: str = "success") -> Moments:
    """The moment with the highest mean over seeds, the earliest of equals."""
    steps = common_steps(arm, suite, metric)
    if not steps:
        return {}
    top = max(steps, key=lambda step: (mean_reading(arm, reading_name(suite, metric), step) or 0.0, -step))
    return {run.seed: (top,) for run in arm.measured}


def at(arm: Arm, step: int) -> Moments:
    """One step."""
    return {run.seed: (step,) for run in arm.measured}


def reading_name(suite: str, metric: str = "success") -> str:
    """Return the name under which records hold a metric of a suite."""
    return f"eval_{suite}_{metric}"


def common_steps(arm: Arm, suite: str, metric: str = "success") -> list[int]:
    """Return the steps that every seed measured: a mean over fewer would jump where a seed stops."""
    name = reading_name(suite, metric)
    each = [{record.step for record in run.records if record.readings.get(name) is not None} for run in arm.measured]
    return sorted(set.intersection(*each)) if each else []


def mean_reading(arm: Arm, name: str, step: int) -> float | None:
    """Return a reading at a step, averaged over seeds; None if one of them lacks it."""
    found = [record.readings.get(name) for run in arm.measured if (record := run.record_at(step)) is not None]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(arm.measured) else None


def measure(terms: Sequence[Term], metric: str = "success") -> Contrast | None:
    """Return the weighted sum of terms over the seeds that all of them share; None if there is none.

    Where the answers to the problems were not kept, or a metric makes no sense for some of them, the readings are
    summed instead and the interval speaks of other seeds only.
    """
    shared = set.intersection(*({seed for seed, steps in term.moments.items() if steps} for term in terms))
    by_seed = {seed: _readings(terms, seed, metric) for seed in sorted(shared)}
    known = {seed: value for seed, value in by_seed.items() if value is not None}
    if not known:
        return None
    parts = [_crossed(suite, terms, sorted(known), metric) for suite in dict.fromkeys(term.suite for term in terms)]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return Contrast(over_seeds.of_seeds(list(known.values())), known)
    means = np.sum([part.values_SN.mean(axis=1) for part in whole], axis=0)
    single = len(terms) == 1 and terms[0].weight == 1
    told = over_seeds.rate(whole[0].values_SN, whole[0].keys) if single else over_seeds.contrast(whole)
    return Contrast(told, dict(zip(sorted(known), means.tolist(), strict=True)))


def level(arm: Arm, suite: str, moments: Moments, metric: str = "success") -> Estimate | None:
    """Return one rate of one arm over its seeds; None if it was not measured."""
    found = measure([Term(arm, suite, moments)], metric)
    return None if found is None else found.estimate


def _readings(terms: Sequence[Term], seed: int, metric: str) -> float | None:
    total = 0.0
    for term in terms:
        run = _run(term.arm, seed)
        name = reading_name(term.suite, metric)
        found = [
            record.readings.get(name) for step in term.moments[seed] if (record := run.record_at(step)) is not None
        ]
        known = [value for value in found if value is not None]
        if not known or len(known) < len(term.moments[seed]):
            return None
        total += term.weight * sum(known) / len(known)
    return total


class Graded(NamedTuple):
    """The grade of every problem of one suite at one moment of one run."""

    places: tuple[Place, ...]
    values_N: NDArray[np.float64]


def _crossed(suite: str, terms: Sequence[Term], seeds: Sequence[int], metric: str) -> over_seeds.Crossed | None:
    """Return what each seed's answer to each problem of a suite adds; None if not every answer was kept."""
    own = [term for term in terms if term.suite == suite]
    gradings = [
        [
            (term.weight / len(term.moments[seed]), graded_of(_run(term.arm, seed), suite, step, metric))
            for term in own
            for step in term.moments[seed]
        ]
        for seed in seeds
    ]
    places = shared_places([graded.places for row in gradings for _, graded in row])
    if not places:
        return None
    values_SN = np.zeros((len(seeds), len(places)))
    for total_N, row in zip(values_SN, gradings, strict=True):
        for weight, graded in row:
            total_N += weight * at_places(graded, places)
    reach = sum(abs(term.weight) for term in own) / 2
    return over_seeds.Crossed(values_SN, [key for _, _, key in places], reach)


def shared_places(rosters: Sequence[tuple[Place, ...]]) -> tuple[Place, ...]:
    """Return the places that all rosters hold. Mostly the shorter ones are the beginnings of the longer."""
    shortest = min(rosters, key=len)
    if all(roster[: len(shortest)] == shortest for roster in rosters):
        return shortest
    return tuple(sorted(set.intersection(*map(set, rosters))))


def at_places(graded: Graded, places: tuple[Place, ...]) -> NDArray[np.float64]:
    if graded.places[: len(places)] == places:
        return graded.values_N[: len(places)]
    order = {place: number for number, place in enumerate(graded.places)}
    return graded.values_N[[order[place] for place in places]]


def graded_of(run: RunData, suite: str, step: int, metric: str) -> Graded:
    """Return the grade of every problem, of several answers their mean; none if not kept, or one is unknown."""
    key = ("graded", suite, step, metric)
    if key not in run.derived:
        samples = run.samples(suite, step)
        grades: dict[Place, list[bool | None]] = {}
        for sample in samples:
            grades.setdefault(place_of(sample), []).append(grade(sample, metric))
        known = [[float(value) for value in values if value is not None] for values in grades.values()]
        whole = sum(map(len, known)) == len(samples)
        places = run.derived.setdefault(("places", tuple(grades)), tuple(grades)) if whole else ()
        run.derived[key] = Graded(places, np.array([sum(v) / len(v) for v in known] if whole else [], dtype=float))
    found: Graded = run.derived[key]
    return found


def _run(arm: Arm, seed: int) -> RunData:
    return next(run for run in arm.measured if run.seed == seed)
