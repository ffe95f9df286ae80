"""Stop after a reading has risen so many times: the rule of gradient disparity."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import GRADIENT_DISPARITY
from holdfast.signals.series import check_count, check_one_of, series


@dataclass(frozen=True)
class Rises:
    """Stop at the moment at which a reading has risen ``times`` times since training began, and keep that moment.

    A rise is a known value above the known one before it, by however little; so the rule depends on how noisy the
    reading is and on how close moments lie.

    Args:
        reads: Name of the reading.
        times: Rises, at least 1.
        in_a_row: Whether only rises that follow one another count.
        mode: ``up`` counts rises, ``down`` falls.

    Reference: Forouzesh and Thiran 2021 (arXiv 2107.06665), on gradient disparity over epochs, five times.

    Example:
        >>> from holdfast.records import Record
        >>> values = [1.0, 1.2, 1.1, 1.3]
        >>> history = [Record(step, {}, {"gradient_disparity": value}) for step, value in enumerate(values)]
        >>> decision = Rises(times=2).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 3)
    """

    reads: str = GRADIENT_DISPARITY
    times: int = 5
    in_a_row: bool = False
    mode: Literal["up", "down"] = "up"

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("times", self.times)
        check_one_of("mode", self.mode, ("up", "down"))

    @property
    def needs(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.reads,)

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks the reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        told, sign = series(history, self.reads), 1.0 if self.mode == "up" else -1.0
        count, step = 0, None
        for before, here in itertools.pairwise(told.known):
            if sign * here.value > sign * before.value:
                count += 1
            elif self.in_a_row:
                count = 0
            if count == self.times:
                step = here.step
                break
        if not told.tells:
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is unknown at step {told.now}")
        word = "rose" if self.mode == "up" else "fell"
        reason = f"{self.reads} {word} {count} of {self.times} times{' in a row' if self.in_a_row else ''}"
        return Decision(Verb.GO_ON if step is None else Verb.STOP, step, step == told.now, reason)
