"""What one rule of stopping keeps, less what another one keeps, or what the run has at its end."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured, measured
from holdfast.report.compare import Arm
from holdfast.report.contrasts import Moments, Term, end, level, measure
from holdfast.report.replaying import NONE, suites_of
from holdfast.signals.ready import READY
from holdfast.signals.replay import replay


@dataclass(frozen=True)
class Stopping:
    """``{kind: stopping, arm: full, signal: interactions, against: no stopping, suite: ood, above: 0}``.

    Attributes:
        arm, suite: Whose success on what.
        signal: A name of `holdfast.signals.ready.READY`, with its defaults, replayed on each seed.
        than: Another one, or ``no stopping``.
        above, below: Bounds of the difference, 0.1 for ten points.
    """

    arm: str
    signal: str
    suite: str
    than: str = NONE
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in (self.signal, self.than) if name not in {*READY, NONE}]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no signal that is ready to use: {', '.join([NONE, *READY])}")

    def measure(self, cell: Cell) -> Measured:
        """Return the difference of success at the kept moments, with its interval over seeds and problems."""
        arm, suite = cell.arm(self.arm), cell.suite(self.suite)
        kept = [_kept(arm, name, suite, cell) for name in (self.signal, self.than)]
        told = [level(arm, suite, moments) for moments in kept]
        rates = [words.percent(one.value if one else None) for one in told]
        steps = [", ".join(str(step) for (step,) in moments.values()) for moments in kept]
        found = measure([Term(arm, suite, kept[0]), Term(arm, suite, kept[1], -1.0)])
        return measured(
            found, f"{arm.name}: {self.signal} {rates[0]} (keeps {steps[0]}), {self.than} {rates[1]} ({steps[1]})"
        )


def _kept(arm: Arm, name: str, suite: str, cell: Cell) -> Moments:
    """Return the step that each seed keeps: the last that the signal saw, if it never knew a better."""
    if name == NONE:
        return end(arm, suite)
    signal = READY[name].signal(suites_of(cell.section, ood=suite))
    if signal is None:
        raise NotRecorded(f"{name} reads a suite that there is not")
    found = {}
    for run in arm.measured:
        told = replay(signal, run.records)
        seen = run.records[-1].step if told.stop_step is None else told.stop_step
        found[run.seed] = (seen if told.kept_step is None else told.kept_step,)
    return found
