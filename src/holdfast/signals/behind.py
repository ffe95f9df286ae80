"""Generalization loss (Prechelt 1998): stop once a reading has fallen behind its best by too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import VALIDATION_NLL
from holdfast.signals.series import Known, check_one_of, series


@dataclass(frozen=True)
class Behind:
    """Stop at the first moment whose reading is worse than the best so far by more than ``by``; keep the best.

        GL = 100 · (L / min L − 1) > a            is  by = a / 100,  relative,  mode: min

    Where `holdfast.signals.patience.Patience` counts moments, this looks at how bad they are, so it does not depend on
    how close moments lie.

    Args:
        reads: Name of the reading; where its suite is split, the select half is read.
        by: How much worse is too much, above 0.
        mode: ``min`` if smaller is better (a loss), ``max`` if larger is (success).
        relative: Whether ``by`` is a share of the best value.

    Reference: Prechelt 1998, *Early stopping, but when?*, criterion GL.

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"validation_nll": nll}) for step, nll in enumerate([2.0, 1.0, 1.02, 1.2])]
        >>> decision = Behind(by=0.1).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 1)
    """

    reads: str = VALIDATION_NLL
    by: float = 0.05
    mode: Literal["max", "min"] = "min"
    relative: bool = True

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_one_of("mode", self.mode, ("max", "min"))
        if not 0 < self.by < float("inf"):
            raise ValueError(f"by must be above 0, got {self.by}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.reads,)

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks the reading."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        told, sign = series(history, self.reads), 1.0 if self.mode == "max" else -1.0
        best: Known | None = None
        behind: Known | None = None
        for here in told.known:
            if best is None or sign * here.value > sign * best.value:
                best = here
            elif sign * (best.value - here.value) > self.by * (abs(best.value) if self.relative else 1.0):
                behind = here
                break
        step = None if best is None else best.step
        if best is None or not told.tells:
            return Decision(Verb.ABSTAIN, step, reason=f"{self.reads} is unknown at step {told.now}")
        if behind is not None:
            reason = f"{self.reads} was {best.value:.4g} at step {best.step}, and {behind.value:.4g} at {behind.step}"
            return Decision(Verb.STOP, step, step == told.now, reason)
        reason = f"{self.reads} is {told.known[-1].value:.4g}, its best {best.value:.4g} at step {best.step}"
        return Decision(Verb.GO_ON, step, step == told.now, reason)
