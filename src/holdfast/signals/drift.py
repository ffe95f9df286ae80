"""A budget: stop once a reading has moved too far from where it began."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from holdfast.records import Decision, Verb
from holdfast.signals.base import History
from holdfast.signals.reading import KL_FROM_BASE
from holdfast.signals.series import check_one_of, series


@dataclass(frozen=True)
class Drift:
    """Stop at the first moment at which a reading is further than ``by`` from its first known value.

    It keeps the last moment before that: a budget is something to stay within. So a run saves a checkpoint at every
    moment within it; ``save_total_limit`` prunes all but the newest. (`holdfast.signals.reached.Reached` keeps the
    moment that is beyond.)

    Args:
        reads: Name of the reading: ``kl_from_base`` (a KL budget), ``base_text_nll`` (drift on general text),
            ``nll_gap``, ``prediction_entropy``, ``rotation_left``, or a suite's.
        by: How far is too far, above 0.
        mode: ``up`` if rising is the harm, ``down`` if falling is.
        relative: Whether ``by`` is a share of the first value.

    Example:
        >>> from holdfast.records import Record
        >>> history = [Record(step, {}, {"kl_from_base": far}) for step, far in [(0, 0.0), (10, 0.04), (20, 0.06)]]
        >>> decision = Drift(by=0.05).decide(history)
        >>> decision.verdict.value, decision.best_step
        ('stop', 10)
    """

    reads: str = KL_FROM_BASE
    by: float = 0.05
    mode: Literal["up", "down"] = "up"
    relative: bool = False

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_one_of("mode", self.mode, ("up", "down"))
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
        told = series(history, self.reads)
        within, beyond = None, None
        for step, value in told.known:
            if self._moved(told.known[0].value, value) > self.by:
                beyond = step, value
                break
            within = step
        if not told.tells:
            return Decision(Verb.ABSTAIN, within, reason=f"{self.reads} is unknown at step {told.now}")
        start = told.known[0].value
        if beyond is not None:
            reason = f"{self.reads} went from {start:.4g} to {beyond[1]:.4g} at step {beyond[0]}, beyond its budget"
            return Decision(Verb.STOP, within, within == told.now, reason)
        reason = f"{self.reads} went from {start:.4g} to {told.known[-1].value:.4g}, within its budget"
        return Decision(Verb.GO_ON, within, within == told.now, reason)

    def _moved(self, start: float, value: float) -> float:
        moved = value - start if self.mode == "up" else start - value
        if not self.relative:
            return moved
        return moved / abs(start) if start else (float("inf") if moved > 0 else 0.0)
