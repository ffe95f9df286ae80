"""Stop as soon as a reading has come to a given value: arms of a comparison that end equally far from the base."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import readings


@dataclass(frozen=True)
class Reached:
    """Stop at the first moment whose reading is at or beyond ``at``.

    With ``reads: update_norm`` it ends every arm at the same relative distance from the base, whatever its rate and
    whatever part of the model learns. ``budget.steps`` is then the limit up to which an arm may try.

    What it is not: it does not look between moments. A run ends at the first *moment* past ``at``, so arms agree as
    closely as their moments lie together; the value that was reached stands in the reason and in the record.

    Args:
        reads: Name of the reading; where its suite is split, the select half is read.
        at: The value to come to. Finite.
        mode: ``max`` if the reading grows towards ``at`` (a distance, a success), ``min`` if it falls (a loss).

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"update_norm": far}) for step, far in [(0, 0.0), (10, 0.04), (20, 0.06)]]
        >>> decision = Reached(at=0.05).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 20)
    """

    reads: str = "update_norm"
    at: float = 0.05
    mode: Literal["max", "min"] = "max"

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.at):
            raise ValueError(f"at must be a finite number, got {self.at}")
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode must be max or min, got {self.mode!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.reads,)

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks the reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        sign = 1.0 if self.mode == "max" else -1.0
        values = readings(history, self.reads, "select")
        known = [(value, record.step) for value, record in zip(values, history, strict=True) if value is not None]
        first = next(((value, step) for value, step in known if sign * value >= sign * self.at), None)
        step = None if first is None else first[1]
        now = history[-1].step
        if values[-1] is None:
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is unknown at step {now}")
        if first is None:
            return Decision(Verb.GO_ON, reason=f"{self.reads} is {values[-1]:.4g}, not yet {self.at:.4g}")
        return Decision(Verb.STOP, step, step == now, f"{self.reads} came to {first[0]:.4g} at step {step}")
