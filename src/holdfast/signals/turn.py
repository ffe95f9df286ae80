"""Stop at the first local minimum of a reading's moving average: the rule of Label Wave."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import PREDICTION_FLIPS
from holdfast.signals.series import Known, check_count, check_one_of, series


@dataclass(frozen=True)
class Turn:
    """Stop once the moving average of a reading has fallen and then risen; keep the moment at which it was lowest.

    The average is of the last ``window`` known values, and is there from the ``window``-th on. It belongs to the
    moment of the last of them. Equal averages neither fall nor rise.

    Args:
        reads: Name of the reading.
        window: Moments of the average, at least 1.
        mode: ``min`` for the first local minimum, ``max`` for the first local maximum.

    Reference: Yuan, Feng and Liu 2025 (arXiv 2502.07551), on changes of predictions over epochs.

    Example:
        >>> from holdfast.records import Record
        >>> values = [None, 0.5, 0.3, 0.2, 0.4]
        >>> history = [Record(step, {}, {"prediction_flips": value}) for step, value in enumerate(values)]
        >>> decision = Turn(window=1).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 3)
    """

    reads: str = PREDICTION_FLIPS
    window: int = 3
    mode: Literal["min", "max"] = "min"

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("window", self.window)
        check_one_of("mode", self.mode, ("min", "max"))

    @property
    def needs(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.reads,)

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks the reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        told, sign = series(history, self.reads), 1.0 if self.mode == "min" else -1.0
        lowest: Known | None = None
        turned: Known | None = None
        averages = self._averages(told.known)
        for before, here in itertools.pairwise(averages):
            if sign * here.value < sign * before.value:
                lowest = here
            elif lowest is not None and sign * here.value > sign * before.value:
                turned = here
                break
        step = None if lowest is None else lowest.step
        if not told.tells:
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is unknown at step {told.now}")
        if lowest is None:
            return Decision(Verb.GO_ON, reason=f"the average of {self.reads} has not begun to move")
        if turned is None:
            reason = f"the average of {self.reads} is at {lowest.value:.4g} since step {lowest.step}"
            return Decision(Verb.GO_ON, step, step == told.now, reason)
        reason = (
            f"the average of {self.reads} turned at step {lowest.step}: {lowest.value:.4g}, then {turned.value:.4g}"
        )
        return Decision(Verb.STOP, step, step == told.now, reason)

    def _averages(self, known: list[Known]) -> list[Known]:
        ends = range(self.window, len(known) + 1)
        return [
            Known(known[end - 1].step, sum(one.value for one in known[end - self.window : end]) / self.window)
            for end in ends
        ]
