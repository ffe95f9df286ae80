"""What becomes of a claim on one task, base and variant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.report.claims.base import Measured
from holdfast.report.claims.rows import Claim


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    CANNOT_TELL = "cannot tell"
    OUT_OF_RANGE = "out of range"


@dataclass(frozen=True)
class Judged:
    """One claim on one cell.

    Attributes:
        claim: The row.
        study: Name of the study whose records were read.
        of: Task, base and variant in words; empty if there are no records.
        verdict: What became of it.
        measured: The number; None if there is none.
        why: Why it is not decided, or which need failed; empty if it is.
    """

    claim: Claim
    study: str
    of: str
    verdict: Verdict
    measured: Measured | None = None
    why: str = ""
