"""What runs gained and lost: arms pooled over seeds, compared with their base and with each other on the same problems.

The rule of the verdict on "success at step 0" against "success at the end", for one arm and one suite:

- *gained* or *lost*: the exact paired test has p <= 0.05 after Holm's adjustment over all arms and suites at once, and
  the 95 % interval of the difference leaves out 0;
- *kept*: otherwise, and the whole 95 % interval of the difference has a width and lies within ± 5 points (of problems
  answered several times, none of which changed, a bootstrap makes an interval without width, which says nothing of
  other problems);
- *not distinguishable*: otherwise. That is not "kept": the problems are too few to tell.

Seeds of one arm are pooled: a problem answered by three seeds is one key, not three observations. Intervals and
p-values therefore speak of other problems, not of other seeds; the spread over seeds stands beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from holdfast.records import Estimate, Outcome, Record, Sample
from holdfast.report.pairing import Both, both, compared, matched, solved
from holdfast.report.run_data import RunData, SuiteFacts
from holdfast.statistics import Paired, holm, rate_by_cluster

ALPHA = 0.05
MARGIN = 0.05
ALL_PAIRS_UP_TO = 4
"""Arms up to which every two are compared; beyond, each is compared with the first, or the page drowns in p-values."""


class Change(StrEnum):
    """The verdict in one word or two."""

    GAINED = "gained"
    LOST = "lost"
    KEPT = "kept"
    UNCLEAR = "not distinguishable"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed."""

    name: str
    runs: tuple[RunData, ...]

    @cached_property
    def measured(self) -> tuple[RunData, ...]:
        """The runs that recorded anything."""
        return tuple(run for run in self.runs if run.records)

    @cached_property
    def suites(self) -> dict[str, SuiteFacts]:
        """The suites of the arm's runs."""
        return {name: facts for run in self.runs for name, facts in run.suites.items()}


def called(suite: SuiteFacts) -> str:
    """Return a suite's name, with its purpose where the name does not say it."""
    return suite.name if suite.name.split("_")[0] == suite.purpose else f"{suite.name} ({suite.purpose})"


@dataclass(frozen=True)
class Result:
    """One arm on one suite, base against end.

    Attributes:
        base, end: Success before training and at the last moment; None if it was not measured.
        seeds: Success at the end of each seed, lowest first.
        paired: Base against end on the same problems; None if the graded problems were not kept.
        p_adjusted: Its p-value after Holm over the whole page.
        change: The verdict.
    """

    arm: Arm
    suite: SuiteFacts
    base: Estimate | None
    end: Estimate | None
    seeds: tuple[float, ...]
    paired: Paired | None
    p_adjusted: float | None = None
    change: Change = Change.UNKNOWN


@dataclass(frozen=True)
class Duel:
    """Two arms at their ends on the same problems of one suite; the difference is second minus first."""

    suite: SuiteFacts
    first: Arm
    second: Arm
    paired: Paired
    p_adjusted: float | None = None


def arms(runs: Sequence[RunData]) -> tuple[Arm, ...]:
    """Group runs by name, in the order in which names appear."""
    names = dict.fromkeys(run.name for run in runs)
    return tuple(
        Arm(name, tuple(sorted((run for run in runs if run.name == name), key=lambda run: run.seed))) for name in names
    )


def all_suites(groups: Sequence[Arm]) -> list[SuiteFacts]:
    """Return the suites of all arms, ID first."""
    known = {name: facts for arm in reversed(groups) for name, facts in arm.suites.items()}
    order = {name: None for arm in groups for name in arm.suites}
    purposes = {"id": 0, "ood": 1}
    return sorted((known[name] for name in order), key=lambda facts: purposes.get(facts.purpose, 2))


def results(groups: Sequence[Arm]) -> list[Result]:
    """Compare every arm with its base on every suite, p-values adjusted over all of them."""
    rows = [_result(arm, arm.suites[suite.name]) for suite in all_suites(groups) for arm in groups if _has(arm, suite)]
    adjusted = holm([row.paired.p_value if row.paired else None for row in rows])
    judged = [replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True)]
    return [replace(row, change=_judge(row)) for row in judged]


def duels(groups: Sequence[Arm]) -> list[Duel]:
    """Compare arms with each other at their ends, seed by seed, p-values adjusted over all of them."""
    pairs = list(itertools.combinations(groups, 2))
    if len(groups) > ALL_PAIRS_UP_TO:
        pairs = [(groups[0], other) for other in groups[1:]]
    rows = []
    for suite in all_suites(groups):
        for first, second in pairs:
            paired = compared(_both_ends(first, second, suite.name))
            if paired is not None:
                rows.append(Duel(suite, first, second, paired))
    adjusted = holm([row.paired.p_value for row in rows])
    return [replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True)]


def end_of(run: RunData, suite: str, metric: str = "success") -> Record | None:
    """Return the last record that holds a known reading of a suite."""
    name = f"eval_{suite}_{metric}"
    return next((record for record in reversed(run.records) if record.readings.get(name) is not None), None)


def estimate(arm: Arm, suite: str, step: int | None, metric: str = "success") -> Estimate | None:
    """Return a metric of an arm at a step (None: at each run's end), pooled over the seeds that measured it.

    Before training, seeds do not differ: where their numbers are equal they count once.
    """
    name = f"eval_{suite}_{metric}"
    if step == 0:
        bases = [record for run in arm.measured if (record := run.record_at(0)) is not None]
        starts = {_own(record, name) for record in bases if record.readings.get(name) is not None}
        if len(starts) == 1:
            return starts.pop()
    return pool([(run, _record(run, suite, step, metric)) for run in arm.measured], suite, metric)


def pool(moments: Sequence[tuple[RunData, Record | None]], suite: str, metric: str = "success") -> Estimate | None:
    """Return a metric over moments of several runs, each at a step of its own; None if none of them measured it.

    One moment: its record's own estimate. Several: the interval is made again from the graded problems of all of them,
    and is None if these were not kept.
    """
    name = f"eval_{suite}_{metric}"
    found = [(run, record) for run, record in moments if record is not None and record.readings.get(name) is not None]
    own = [_own(record, name) for _, record in found]
    if len(found) <= 1:
        return own[0] if own else None
    kept = [run.samples(suite, record.step) for run, record in found]
    graded = [(value, sample.key) for each in kept for sample in each for value in grades(sample, metric)]
    if graded and all(kept):
        return rate_by_cluster([value for value, _ in graded], [key for _, key in graded])
    n = sum(one.n for one in own)
    total = sum((one.value or 0.0) * max(one.n, 1) for one in own)
    return Estimate(total / max(n, len(own)), None, None, n, max(one.clusters for one in own), "mean over seeds")


def base_and_end(run: RunData, suite: str) -> list[tuple[Sample, Sample]]:
    """Pair a suite's answers at step 0 and at the end of a run; none where a problem was answered several times."""
    end = end_of(run, suite)
    if end is None or end.step == 0:
        return []
    return matched(run.samples(suite, 0), run.samples(suite, end.step))


def _has(arm: Arm, suite: SuiteFacts) -> bool:
    return suite.name in arm.suites and bool(arm.measured)


def _result(arm: Arm, suite: SuiteFacts) -> Result:
    problems = [problem for run in arm.measured for problem in _from_base_to_end(run, suite.name)]
    name = f"eval_{suite.name}_success"
    ends = [record.readings[name] for run in arm.measured if (record := end_of(run, suite.name)) is not None]
    return Result(
        arm=arm,
        suite=suite,
        base=estimate(arm, suite.name, 0),
        end=estimate(arm, suite.name, None),
        seeds=tuple(sorted(value for value in ends if value is not None)),
        paired=compared(problems),
    )


def _judge(row: Result) -> Change:
    paired = row.paired
    if paired is None or paired.difference is None:
        return Change.UNKNOWN
    if paired.low is None or paired.high is None:
        return Change.UNCLEAR
    if row.p_adjusted is not None and row.p_adjusted <= ALPHA and not paired.low <= 0 <= paired.high:
        return Change.GAINED if paired.difference > 0 else Change.LOST
    return Change.KEPT if -MARGIN <= paired.low < paired.high <= MARGIN else Change.UNCLEAR


def _from_base_to_end(run: RunData, suite: str) -> list[Both]:
    end = end_of(run, suite)
    if end is None or end.step == 0:
        return []
    return both(run.samples(suite, 0), run.samples(suite, end.step))


def _both_ends(first: Arm, second: Arm, suite: str) -> list[Both]:
    seeds = {run.seed: run for run in second.measured}
    problems: list[Both] = []
    for run in first.measured:
        other = seeds.get(run.seed)
        if other is None:
            continue
        one, two = end_of(run, suite), end_of(other, suite)
        if one is not None and two is not None:
            problems += both(run.samples(suite, one.step), other.samples(suite, two.step))
    return problems


def grade(sample: Sample, metric: str) -> bool | None:
    """Return what one graded problem says about a metric; None if nothing."""
    if metric == "success":
        return solved(sample)
    if metric.startswith("success_at_") and metric.removeprefix("success_at_").isdecimal():
        return sample.solved_at is not None and sample.solved_at <= int(metric.removeprefix("success_at_"))
    understood = {"format_ok": sample.outcome is not Outcome.UNPARSED}
    return {**understood, **sample.facts}.get(metric)


def grades(sample: Sample, metric: str) -> list[bool]:
    """Return all that one problem says about a metric: one value a trial where it counts several, or at most one."""
    if metric in sample.counts:
        hits, trials = sample.counts[metric]
        return [trial < hits for trial in range(trials)]
    value = grade(sample, metric)
    return [] if value is None else [value]


def _record(run: RunData, suite: str, step: int | None, metric: str) -> Record | None:
    return end_of(run, suite, metric) if step is None else run.record_at(step)


def _own(record: Record, name: str) -> Estimate:
    told = record.estimates.get(name)
    return told if told is not None else Estimate(record.readings[name], None, None, 0, 0, "reading")
