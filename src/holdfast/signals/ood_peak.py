"""The oracle of stopping: the best step in hindsight, read off the problems that the tables show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.series import series


@dataclass(frozen=True)
class OODPeak:
    """Never stop; name the step at which the report half of a reading was best.

    It is a yardstick, not a method: it reads the report half, and it needs the whole history. It bounds what stopping
    at a moment of this run could have kept, and it is flattered by noise: the best of many noisy rates is too high.

    Args:
        reads: Name of the reading; the report half is read.
        mode: ``max`` if larger is better, ``min`` if smaller is. Equal readings keep the earlier step.
        warmup: Moments before this step are ignored. 0 lets step 0, the base itself, be the best.

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"eval_ood_success": rate}) for step, rate in enumerate([0.7, 0.8, 0.3])]
        >>> OODPeak().decide(history).best_step
        1
    """

    reads: str = "eval_ood_success"
    mode: Literal["max", "min"] = "max"
    warmup: int = 0

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
        told, sign = series(history, self.reads, half="report", warmup=self.warmup), 1.0 if self.mode == "max" else -1.0
        best = max(told.known, key=lambda one: sign * one.value, default=None)
        if best is None or not told.tells:
            step = None if best is None else best.step
            why = "unknown" if told.now >= self.warmup else "not looked at yet"
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is {why} at step {told.now}")
        reason = f"{self.reads} is best at step {best.step} ({best.value:.4g}), in hindsight"
        return Decision(Verb.GO_ON, best.step, best.step == told.now, reason)
