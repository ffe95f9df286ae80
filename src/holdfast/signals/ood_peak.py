"""The oracle of stopping: the best step in hindsight, read off the problems that the tables show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import readings


@dataclass(frozen=True)
class OODPeak:
    """Never stop; name the step at which the report half of a reading was best.

    It is a yardstick, not a method: it reads the report half, and it needs the whole history. It bounds what stopping
    at a moment of this run could have kept, and it is flattered by noise: the best of many noisy rates is too high.

    Args:
        reads: Name of the reading; the report half is read.
        mode: ``max`` if larger is better, ``min`` if smaller is. Equal readings keep the earlier step.

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"eval_ood_success": rate}) for step, rate in enumerate([0.7, 0.8, 0.3])]
        >>> OODPeak().decide(history).best_step
        1
    """

    reads: str = "eval_ood_success"
    mode: Literal["max", "min"] = "max"

    oracle: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode must be max or min, got {self.mode!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.reads,)

    def decide(self, history: History) -> Decision:
        """Name the best step so far. Raises NotRecorded if a record lacks the reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        sign = 1.0 if self.mode == "max" else -1.0
        values = readings(history, self.reads, "report")
        pairs = zip(values, history, strict=True)
        known = [(sign * value, record.step) for value, record in pairs if value is not None]
        best = max(known, key=lambda pair: pair[0], default=None)
        now = history[-1].step
        if best is None or values[-1] is None:
            step = None if best is None else best[1]
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is unknown at step {now}")
        reason = f"{self.reads} is best at step {best[1]} ({sign * best[0]:.4g}), in hindsight"
        return Decision(Verb.GO_ON, best[1], best[1] == now, reason)
