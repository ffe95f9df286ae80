"""A signal on a finished run: where would it have stopped, and what would it have kept?"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.records import Decision, Record, Verb
from holdfast.signals.base import History, Signal


@dataclass(frozen=True)
class Replay:
    """What a signal would have done.

    Attributes:
        decision: Its answer where it stopped, or after the last record.
        stopped: The record at which it stopped; None if it let the run go to its end.
        kept: The record of the step whose weights it would have kept; None if it never knew one.
        oracle: Whether the signal reads what no practitioner has.
    """

    decision: Decision
    stopped: Record | None
    kept: Record | None
    oracle: bool

    @property
    def stop_step(self) -> int | None:
        """The step at which it stopped; None if it never did."""
        return None if self.stopped is None else self.stopped.step

    @property
    def kept_step(self) -> int | None:
        """The step it would have kept; None if it never knew one."""
        return None if self.kept is None else self.kept.step


def replay(signal: Signal, history: History) -> Replay:
    """Let ``signal`` decide on growing prefixes of ``history`` until it says STOP, as it would have in the run.

    What the suites were worth there stands in ``stopped`` and ``kept``: plain names are the report half.

    Raises:
        NotRecorded: the signal needs a reading that the history does not hold. Nothing is guessed.
    """
    decision, stopped = signal.decide(history[:0]), None
    for length in range(1, len(history) + 1):
        decision = signal.decide(history[:length])
        if decision.verdict is Verb.STOP:
            stopped = history[length - 1]
            break
    kept = next((record for record in history if record.step == decision.best_step), None)
    return Replay(decision, stopped, kept, signal.oracle)
