"""What one arm has again of what another forgot, and how much was forgotten: ratios to the peak of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.claims.base import Cell, Measured
from holdfast.report.contrasts import Term, base, best, end, level
from holdfast.report.ratios import ratio


@dataclass(frozen=True)
class Recovery:
    """``{kind: recovery, arm: rl from the end, against: sft, suite: ood, of: loss, above: 0.5}``.

    Attributes:
        arm: The arm that recovers; its base is the checkpoint it started from. The same as ``against``: what is left of
            the peak at the end of fine-tuning.
        against: The fine-tuned arm, whose best moment on the suite (in hindsight) is the peak.
        suite: Success on what.
        of: ``peak``: after / peak. ``loss``: (after − before) / (peak − before).
        since: What was before: the arm's own ``base``, or the ``end`` of ``against``, for an arm that is healed from
            there and never measured before.
        above, below: Bounds of the ratio.
    """

    arm: str
    against: str
    suite: str
    of: Literal["peak", "loss"] = "loss"
    since: Literal["base", "end"] = "base"
    above: float | None = None
    below: float | None = None

    def measure(self, cell: Cell) -> Measured:
        """Return the ratio with Fieller's interval over seeds and problems.

        Raises:
            NotRecorded: nothing was lost for certain, so that there is no ratio.
        """
        arm, tuned, suite = cell.arm(self.arm), cell.arm(self.against), cell.suite(self.suite)
        after, peak = Term(arm, suite, end(arm, suite)), Term(tuned, suite, best(tuned, suite))
        before = Term(arm, suite, base(arm), -1.0)
        if self.since == "end":
            before = Term(tuned, suite, end(tuned, suite), -1.0)
        whole = [after], [peak]
        found = ratio(*whole) if self.of == "peak" else ratio([after, before], [peak, before])
        shown = [level(one.arm, suite, one.moments) for one in (peak, before, after)]
        values = [words.percent(one.value if one else None) for one in shown]
        told = f"{suite}: peak {values[0]}, {arm.name} {values[1]} → {values[2]}"
        if found is None or found.value is None:
            raise NotRecorded(f"no loss that is told apart from 0 ({told})")
        seeds = len({run.seed for run in arm.measured} & {run.seed for run in tuned.measured})
        return Measured(found, seeds, told, "ratio")
