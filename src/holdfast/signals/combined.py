"""Several signals as one: a quorum of them, and budgets that any one of them may veto by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from holdfast.records import Decision, Verb
from holdfast.signals.base import History, Signal
from holdfast.signals.spec import signal_of

Spec = Mapping[str, Any]
DEFAULT: tuple[Spec, ...] = ({"signal": "patience", "reads": "validation_nll", "mode": "min"},)


@dataclass(frozen=True)
class Combined:
    """Stop when ``quorum`` of some signals say so, or at once when one of the vetoes does.

    Which moment is kept is the first signal's affair: its best step, before a veto. A signal that abstains has no
    vote; where fewer than ``quorum`` have one, and no veto speaks, the whole abstains.

    ::

        stop:
          signal: combined
          of: [{signal: patience, reads: validation_nll, mode: min}, {signal: turn}, {signal: rises}]
          quorum: 2
          veto: [{signal: drift, reads: kl_from_base, by: 0.1}]

    Args:
        of: Signals, each as ``stop`` spells it; at least one.
        quorum: How many must say stop at one moment; more than half of them if None.
        veto: Signals, any of which stops by itself.

    Raises:
        UserError: a signal is not known, or refuses its options.
        ValueError: the quorum cannot be reached, or one of them is an oracle.
    """

    of: Sequence[Spec] = DEFAULT
    quorum: int | None = None
    veto: Sequence[Spec] = ()
    voters: tuple[Signal, ...] = field(init=False, repr=False, compare=False)
    vetoes: tuple[Signal, ...] = field(init=False, repr=False, compare=False)

    oracle: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "voters", _built("of", self.of))
        object.__setattr__(self, "vetoes", _built("veto", self.veto))
        if not self.voters:
            raise ValueError("of must name at least one signal")
        if not 1 <= self.needed <= len(self.voters):
            raise ValueError(f"quorum must be 1 to {len(self.voters)}, the number of signals, got {self.quorum}")

    @property
    def needed(self) -> int:
        """How many must say stop."""
        return 1 + len(self.voters) // 2 if self.quorum is None else self.quorum

    @property
    def needs(self) -> tuple[str, ...]:
        """All that any of them reads."""
        return tuple(dict.fromkeys(name for signal in (*self.voters, *self.vetoes) for name in signal.needs))

    def decide(self, history: History) -> Decision:
        """Decide after the last record. Raises NotRecorded if a record lacks what one of them reads."""
        if not history:
            return Decision(Verb.ABSTAIN, reason="nothing is recorded yet")
        votes = [signal.decide(history) for signal in self.voters]
        vetoes = [signal.decide(history) for signal in self.vetoes]
        now, best = history[-1].step, votes[0].best_step
        for veto in vetoes:
            if veto.verdict is Verb.STOP:
                best = self.voters[0].decide(history[:-1]).best_step
                return Decision(Verb.STOP, best, reason=f"veto: {veto.reason}")
        saying = [vote for vote in votes if vote.verdict is Verb.STOP]
        told = f"{len(saying)} of {len(votes)} say stop, {self.needed} needed"
        if len(saying) >= self.needed:
            reason = f"{told}: {'; '.join(vote.reason for vote in saying)}"
            return Decision(Verb.STOP, best, best == now, reason)
        if sum(vote.verdict is not Verb.ABSTAIN for vote in votes) < self.needed:
            return Decision(Verb.ABSTAIN, best, votes[0].keep, f"{told}, and too few can tell")
        return Decision(Verb.GO_ON, best, votes[0].keep, told)


def _built(where: str, specs: Sequence[Spec]) -> tuple[Signal, ...]:
    signals = []
    for spec in specs:
        if not isinstance(spec, Mapping) or "signal" not in spec:
            raise ValueError(f"{where}: each is a block with signal, for example {{signal: patience}}; got {spec!r}")
        signal = signal_of(spec)
        if signal.oracle:
            raise ValueError(f"{where}: {spec['signal']} is an oracle, which nobody has to stop by")
        signals.append(signal)
    return tuple(signals)
