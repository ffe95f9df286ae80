"""The parts of a study's page, one file each: from the runs of one task on one base to words, figures and tables.

Every part is a function ``part(section) -> Part | None``; None where the runs hold nothing to show. The order here is
that of the page.
"""

from collections.abc import Callable

from holdfast.report.groups import Section
from holdfast.report.sections import (
    best,
    confusion,
    costs,
    curves,
    difficulty,
    ends,
    frontier,
    healing,
    interactions,
    levels,
    memorization,
    rates,
    remedies,
    replies,
    restoration,
    rounding,
    stability,
    stopping,
)
from holdfast.report.sections.base import Part

PARTS: dict[str, Callable[[Section], Part | None]] = {
    "curves": curves.part,
    "ends": ends.part,
    "restoration": restoration.part,
    "healing": healing.part,
    "remedies": remedies.part,
    "rates": rates.part,
    "frontier": frontier.part,
    "best": best.part,
    "interactions": interactions.part,
    "stopping": stopping.part,
    "memorization": memorization.part,
    "difficulty": difficulty.part,
    "levels": levels.part,
    "stability": stability.part,
    "confusion": confusion.part,
    "replies": replies.part,
    "rounding": rounding.part,
    "costs": costs.part,
}

__all__ = ["PARTS", "Part"]
