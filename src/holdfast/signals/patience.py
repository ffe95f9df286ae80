"""Early stopping on any reading (Prechelt 1998): stop when it has not improved for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import readings


@dataclass(frozen=True)
class Patience:
    """Stop after ``patience`` moments in a row that did not improve on the best one.

    A moment improves if its reading is better than the best so far by more than ``min_delta``; the first known reading
    is the first best. Equal readings keep the earlier step. Moments whose reading is unknown are passed over.

    What it is not: it does not correct for noise. With n = 400 two rates within 5 points are hardly told apart; a small
    ``patience`` on dense moments stops by chance. Some runs dip and recover, so be generous.

    Args:
        reads: Name of the reading; where its suite is split, the select half is read.
        patience: Moments without improvement that are allowed, at least 1.
        min_delta: How much better counts as better, at least 0.
        mode: ``max`` if larger is better (success), ``min`` if smaller is (a loss).
        warmup: Moments before this step are ignored. 0 lets step 0, the base itself, be the best.

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"eval_ood_success": rate}) for step, rate in enumerate([0.7, 0.8, 0.3, 0.2])]
        >>> decision = Patience(patience=2).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 1)
    """

    reads: str = "eval_ood_success"
    patience: int = 3
    min_delta: float = 0.0
    mode: Literal["max", "min"] = "max"
    warmup: int = 0

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta must be at least 0, got {self.min_delta}")
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
        best, best_step, waited, last = float("-inf"), None, 0, None
        for record, value in zip(history, readings(history, self.reads, "select"), strict=True):
            last = value if record.step >= self.warmup else None
            if last is None:
                continue
            if best_step is None or sign * last > best + self.min_delta:
                best, best_step, waited = sign * last, record.step, 0
            else:
                waited += 1
        now = history[-1].step
        if now < self.warmup:
            return Decision(Verb.ABSTAIN, reason=f"step {now} is before the warm-up ends at {self.warmup}")
        if last is None:
            return Decision(Verb.ABSTAIN, best_step, reason=f"{self.reads} is unknown at step {now}")
        verb = Verb.STOP if waited >= self.patience else Verb.GO_ON
        if waited == 0:
            reason = f"{self.reads} is best here: {last:.4g}"
        else:
            reason = f"{self.reads} was best at step {best_step} ({sign * best:.4g}); {waited} of {self.patience} since"
        return Decision(verb, best_step, best_step == now, reason)
