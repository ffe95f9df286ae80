"""The contract of a signal: from the history of a run to a decision, as a pure function.

The same code runs live, where its STOP ends training, and on finished runs, where it tells where it would have stopped.

A complete member::

    @dataclass(frozen=True)
    class After:
        step: int = 100
        oracle: ClassVar[bool] = False

        @property
        def reads(self): return ()

        def decide(self, history):
            late = history[-1].step >= self.step
            return Decision(Verb.STOP if late else Verb.GO_ON, history[-1].step, late, f"step {history[-1].step}")

Laws (``tests/laws/test_signals.py``): deciding on a prefix of a history never looks beyond it; an empty history is
ABSTAIN; a missing reading raises NotRecorded and an unknown value (None) abstains; ``best_step`` is a step of the
history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from holdfast.records import Decision, Record

History = Sequence[Record]


@runtime_checkable
class Signal(Protocol):
    """Decides when to stop. Implementations are frozen dataclasses whose fields are their options."""

    oracle: ClassVar[bool]
    """Whether it reads what no practitioner has (the report half): a yardstick, not a method."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the readings it needs, for example ``("eval_ood_success",)``."""

    def decide(self, history: History) -> Decision:
        """Decide after the last record of ``history``."""
