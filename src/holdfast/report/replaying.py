"""Every signal on finished runs: where it would have stopped, what it would have kept, and what measuring for it cost.

A signal that needs what a run did not record is not replayed there, and the row says what is missing; nothing is
guessed. Signals read the select half of a suite that was split; success is that of the report half, or of all problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import NotRecorded
from holdfast.records import Estimate
from holdfast.report.compare import Arm
from holdfast.report.groups import Section
from holdfast.report.regret import Kept, Outcome, outcome
from holdfast.report.run_data import VALIDATION, RunData
from holdfast.report.sections.base import id_suite, ood_suite
from holdfast.signals.base import Signal
from holdfast.signals.reading import BESIDE_SUITES, is_split, readings
from holdfast.signals.ready import Ready
from holdfast.signals.replay import replay

NONE = "no stopping"
"""The row of the moments at which the runs ended."""


@dataclass(frozen=True)
class Stopped:
    """One signal on one run.

    Attributes:
        arm, seed: Of the run.
        step: Where it would have stopped; None if it let the run go to its end.
        kept: The step that it would have kept; the last one that it saw, if it never knew a better.
        trained: Steps that would have been trained, as a share of the run's.
        seconds: Of measuring for it up to there, as a share of the seconds of training; None where not recorded.
        flops: The same in FLOPs, of its probes alone.
    """

    arm: str
    seed: int
    step: int | None
    kept: int
    trained: float
    seconds: float | None
    flops: float | None


@dataclass(frozen=True)
class Row:
    """One signal on all runs of a section.

    Attributes:
        name: Of the signal.
        oracle: Whether it reads what no practitioner has.
        flattered: Whether it chose by the very problems that the success here is of, because a suite was not split.
        needs: What it reads.
        missing: What of that some run did not record, or what kind of suite there is not; empty if all is there.
        runs: Of each run.
        known, asked: Success at the kept moments on the ID suite, and on the OOD suite, with the regret there.
    """

    name: str
    oracle: bool = False
    flattered: bool = False
    needs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    runs: tuple[Stopped, ...] = ()
    known: Outcome | None = None
    asked: Outcome | None = None

    @property
    def regret(self) -> Estimate | None:
        """On the OOD suite."""
        return None if self.asked is None else self.asked.regret


def suites_of(section: Section, *, ood: str | None = None, known: str | None = None) -> dict[str, str]:
    """Return the names of suites that stand for ``id``, ``ood`` and ``validation``, as far as there are any.

    Args:
        section: Runs of one task on one base.
        ood: The OOD suite; the first one if None.
        known: The ID suite; the first one if None.
    """
    chosen = {"id": known, "ood": ood}
    for kind, found in (("id", id_suite(section)), ("ood", ood_suite(section))):
        if chosen[kind] is None and found is not None:
            chosen[kind] = found.name
    validation = next((suite for suite in section.suites if suite.split == VALIDATION), None)
    chosen["validation"] = None if validation is None else validation.name
    return {kind: name for kind, name in chosen.items() if name is not None}


def rows(section: Section, signals: Mapping[str, Ready], *, suites: Mapping[str, str]) -> list[Row]:
    """Replay signals on all runs of a section, and compare with not stopping.

    Args:
        section: Runs of one task on one base.
        signals: By name.
        suites: See `suites_of`; ``ood`` is among them.
    """
    ood, known = suites["ood"], suites.get("id")
    arms = [arm for arm in section.arms if arm.measured]
    return [
        _judged(Row(NONE, runs=_ends(arms)), arms, ood=ood, known=known),
        *(_row(name, ready.signal(suites), arms, ood=ood, known=known) for name, ready in signals.items()),
    ]


def _row(name: str, signal: Signal | None, arms: Sequence[Arm], *, ood: str, known: str | None) -> Row:
    if signal is None:
        return Row(name, missing=("a suite of the split validation",))
    runs = [(arm.name, run) for arm in arms for run in arm.measured]
    missing = tuple(need for need in signal.needs if not all(_holds(run, need) for _, run in runs))
    if missing:
        return Row(name, signal.oracle, needs=signal.needs, missing=missing)
    flattered = any(
        reading.startswith(f"eval_{suite}_") and not is_split(run.records[0], reading)
        for suite in (ood, known)
        for reading in signal.needs
        for _, run in runs
    )
    found = tuple(_stopped(arm, run, signal) for arm, run in runs)
    row = Row(name, signal.oracle, flattered and not signal.oracle, signal.needs, runs=found)
    return _judged(row, arms, ood=ood, known=known)


def _holds(run: RunData, reading: str) -> bool:
    try:
        readings(run.records, reading, "select")
    except NotRecorded:
        return False
    return True


def _stopped(arm: str, run: RunData, signal: Signal) -> Stopped:
    told = replay(signal, run.records)
    seen = run.records[-1].step if told.stop_step is None else told.stop_step
    moments = sum(record.step <= seen for record in run.records)
    last = run.records[-1].step
    seconds, flops = _cost(run, signal.needs, moments, share=seen / last if last else 1.0)
    return Stopped(
        arm=arm,
        seed=run.seed,
        step=told.stop_step,
        kept=seen if told.kept_step is None else told.kept_step,
        trained=seen / last if last else 1.0,
        seconds=seconds,
        flops=flops,
    )


def _ends(arms: Sequence[Arm]) -> tuple[Stopped, ...]:
    return tuple(
        Stopped(arm.name, run.seed, None, run.records[-1].step, 1.0, 0.0, 0.0) for arm in arms for run in arm.measured
    )


def _judged(row: Row, arms: Sequence[Arm], *, ood: str, known: str | None) -> Row:
    by_place = {(arm.name, run.seed): run for arm in arms for run in arm.measured}
    kept = [Kept(one.arm, by_place[one.arm, one.seed], one.kept) for one in row.runs]
    told = None if known is None else outcome(kept, known)
    return replace(row, known=told, asked=outcome(kept, ood))


def _cost(run: RunData, needs: Sequence[str], moments: int, *, share: float) -> tuple[float | None, float | None]:
    """Return what ``moments`` measurements of ``needs`` cost, as shares of the training until then."""
    measuring, trained = run.result.get("measuring"), run.result.get("train_seconds")
    spent = (run.result.get("spent") or {}).get("flops")
    if not isinstance(measuring, Mapping) or not trained or not spent or not share:
        return None, None
    seconds = flops = 0.0
    for paid in _payers(measuring, needs):
        times = paid.get("times") or 0
        if not times:
            return None, None
        seconds += paid.get("seconds", 0.0) / times * moments
        flops += paid.get("flops", 0.0) / times * moments
    return seconds / (trained * share), flops / (spent * share)


def _payers(measuring: Mapping[str, Any], needs: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the figures of the suites and probes that write the readings, each once."""
    suites, probes = measuring.get("suites", {}), measuring.get("probes", {})
    found: dict[str, Mapping[str, Any]] = {}
    for reading in needs:
        if reading in BESIDE_SUITES:
            continue
        for name, paid in probes.items():
            if reading in paid.get("readings", ()):
                found[f"probe {name}"] = paid
        owners = [name for name in suites if reading.startswith(f"eval_{name}_")]
        if owners:
            owner = max(owners, key=len)
            found[f"suite {owner}"] = suites[owner]
    return list(found.values())
