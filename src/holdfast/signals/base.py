"""The contract of a signal: from the history of a run to a decision, as a pure function.

The same code runs live, where its STOP ends training, and on finished runs, where it tells where it would have stopped.

A complete member::

    @dataclass(frozen=True)
    class After:
        step: int = 100

        oracle: ClassVar[bool] = False

        @property
        def needs(self):
            return ()

        def decide(self, history):
            if not history:
                return Decision(Verb.ABSTAIN)
            now = history[-1].step
            return Decision(Verb.STOP if now >= self.step else Verb.GO_ON, now, keep=True, reason=f"step {now}")

Laws (``tests/laws/test_signals.py``): deciding on a prefix of a history never looks beyond it; an empty history is
ABSTAIN; a missing reading raises NotRecorded and an unknown value (None) abstains; ``best_step`` is a step of the
history; ``keep`` says that it is the last one.
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
    def needs(self) -> tuple[str, ...]:
        """Plain names of the readings it needs, for example ``("eval_ood_success",)``; `reading` knows the halves."""

    def decide(self, history: History) -> Decision:
        """Decide after the last record of ``history``."""
