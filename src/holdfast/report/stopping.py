"""Where each signal would have stopped each arm, and what it would have kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from holdfast.errors import NotRecorded, UserError
from holdfast.records import Estimate, Record
from holdfast.report.compare import Arm, all_suites, pool
from holdfast.report.run_data import RunData
from holdfast.signals.base import Signal
from holdfast.signals.ood_peak import OODPeak
from holdfast.signals.patience import Patience
from holdfast.signals.reading import is_split
from holdfast.signals.replay import replay
from holdfast.signals.spec import signal_of


@dataclass(frozen=True)
class Stop:
    """One signal replayed on one arm.

    Attributes:
        signal: Its name and what it reads.
        oracle: Whether it reads the report half.
        stopped: The step at which each seed would have stopped; None where it would have run to its end.
        kept: The step each seed would have kept; None where the signal never knew one.
        success: Of the kept steps, by suite, pooled over seeds.
        missing: Why it could not be replayed; empty if it could.
    """

    arm: str
    signal: str
    oracle: bool
    stopped: tuple[int | None, ...] = ()
    kept: tuple[int | None, ...] = ()
    success: tuple[Estimate | None, ...] = ()
    missing: str = ""


def stops(groups: Sequence[Arm]) -> list[Stop]:
    """Replay patience on every suite, the oracle of every OOD suite, and each recipe's own signal."""
    return [
        _stop(arm, name, signal, groups) for arm in groups if arm.measured for name, signal in _signals(arm, groups)
    ]


def reads_what_is_shown(groups: Sequence[Arm]) -> bool:
    """Whether patience was replayed on the very problems that the tables show, because a suite is not split."""
    return any(
        not is_split(run.records[0], f"eval_{suite.name}_success")
        for arm in groups
        for run in arm.measured
        for suite in run.suites.values()
    )


def _signals(arm: Arm, groups: Sequence[Arm]) -> Iterator[tuple[str, Signal]]:
    own = arm.runs[0].recipe.get("stop")
    if isinstance(own, dict) and "signal" in own:
        try:
            signal = signal_of(own)
        except UserError:
            pass  # an outsider's signal: its code is not imported for a report
        else:
            yield f"{own['signal']} on {', '.join(map(_short, signal.needs))} (the run's own)", signal
    for suite in all_suites(groups):
        yield f"patience on {suite.name}", Patience(reads=f"eval_{suite.name}_success")
    for suite in all_suites(groups):
        if suite.purpose == "ood":
            yield f"peak of {suite.name}", OODPeak(reads=f"eval_{suite.name}_success")


def _short(reading: str) -> str:
    return reading.removeprefix("eval_").removesuffix("_success")


def _stop(arm: Arm, name: str, signal: Signal, groups: Sequence[Arm]) -> Stop:
    stopped: list[int | None] = []
    kept: list[tuple[RunData, Record | None]] = []
    for run in arm.measured:
        try:
            told = replay(signal, run.records)
        except NotRecorded as fault:
            return Stop(arm.name, name, signal.oracle, missing=f"not recorded: {fault}")
        stopped.append(told.stop_step)
        kept.append((run, told.kept))
    return Stop(
        arm=arm.name,
        signal=name,
        oracle=signal.oracle,
        stopped=tuple(stopped),
        kept=tuple(None if record is None else record.step for _, record in kept),
        success=tuple(pool(kept, suite.name) for suite in all_suites(groups)),
    )
