"""Weighted sums of success rates of arms at moments, from the graded problems where they were kept.

A difference of two arms, the change of one since its base, the gap between two suites: each is a list of `Term`. Terms
on one suite are matched problem by problem, and all terms seed by seed; the interval speaks of other seeds and other
problems (`holdfast.report.over_seeds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.records import Estimate
from holdfast.report import over_seeds
from holdfast.report.compare import Arm, end_of, grade, place_of
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


def _crossed(suite: str, terms: Sequence[Term], seeds: Sequence[int], metric: str) -> over_seeds.Crossed | None:
    """Return what each seed's answer to each problem of a suite adds; None if not every answer was kept."""
    own = [term for term in terms if term.suite == suite]
    rows = []
    for seed in seeds:
        gradings = [
            (term.weight / len(term.moments[seed]), _graded(_run(term.arm, seed), suite, step, metric))
            for term in own
            for step in term.moments[seed]
        ]
        if not all(graded for _, graded in gradings):
            return None
        asked = set.intersection(*(set(graded) for _, graded in gradings))
        rows.append({place: sum(weight * graded[place] for weight, graded in gradings) for place in asked})
    places = sorted(set.intersection(*map(set, rows)))
    if not places:
        return None
    values_SN = np.array([[row[place] for place in places] for row in rows], dtype=np.float64)
    reach = sum(abs(term.weight) for term in own) / 2
    return over_seeds.Crossed(values_SN, [key for _, _, key in places], reach)


def _graded(run: RunData, suite: str, step: int, metric: str) -> dict[Place, float]:
    """Return the grade of every problem; empty if they were not kept, were sampled several times, or one is unknown."""
    samples = run.samples(suite, step)
    grades = {place_of(sample): grade(sample, metric) for sample in samples}
    known = {place: float(value) for place, value in grades.items() if value is not None}
    return known if len(known) == len(samples) else {}


def _run(arm: Arm, seed: int) -> RunData:
    return next(run for run in arm.measured if run.seed == seed)
