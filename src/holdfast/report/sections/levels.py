"""What each arm spent until it first reached fixed levels of ID success."""

from __future__ import annotations

import math
from collections.abc import Mapping

from holdfast.report import words
from holdfast.report.compare import called
from holdfast.report.groups import Section
from holdfast.report.over_seeds import of_seeds
from holdfast.report.reaching import Budget, spent_to
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Part, id_suite, trained_suite
from holdfast.report.tables import Table

LEVELS = (0.5, 0.75, 0.9, 0.95)
BUDGETS: Mapping[Budget, str] = {"steps": "steps", "flops": "FLOPs"}


def part(section: Section) -> Part | None:
    """Tabulate steps and FLOPs to each level, on trained problems and on new ones; None if the base is there."""
    suites = [suite for suite in dict.fromkeys((trained_suite(section), id_suite(section))) if suite is not None]
    tables = [table for suite in suites for of in BUDGETS if (table := _table(section, suite, of)) is not None]
    return Part("How soon it is learned", tables=tables) if tables else None


def _table(section: Section, suite: SuiteFacts, of: Budget) -> Table | None:
    arms = [arm for arm in section.arms if arm.measured]
    found = {level: [spent_to(arm, suite.name, level, of=of) for arm in arms] for level in LEVELS}
    levels = [level for level, own in found.items() if any(value != 0 for each in own for value in each.values())]
    known = [value for level in levels for each in found[level] for value in each.values() if value]
    if not levels:
        return None
    unit = 10.0 ** math.floor(math.log10(max(known))) if known and of != "steps" else 1.0
    rows = [(arm.name, *(_cell(found[level][k], unit) for level in levels)) for k, arm in enumerate(arms)]
    counted = BUDGETS[of] if unit == 1 else f"{BUDGETS[of]} in {words.power_of_ten(unit).removeprefix('1 × ')}"
    note = (
        f"Until success on {called(suite)} first reached the level, in a straight line between moments; mean over "
        "seeds [95 % over seeds]. A seed that never got there is counted, not averaged."
    )
    heads = (f"{suite.name}: {counted} to", *(f"{100 * level:.0f} %" for level in levels))
    return Table(heads, tuple(rows), "l" + "r" * len(levels), (note,))


def _cell(found: Mapping[int, float | None], unit: float) -> str:
    known = [value / unit for value in found.values() if value is not None]
    never = len(found) - len(known)
    if not found:
        return words.UNKNOWN
    if not known:
        return "never"
    if max(known) == 0:
        return "at the base"
    mean = of_seeds(known)
    told = [_number(value, unit) for value in (mean.value, max(0.0, mean.low or 0.0), mean.high)]
    ends = "" if mean.low is None else f"\n[{told[1]}, {told[2]}]"
    return told[0] + ends + (f"\nnever in {never} of {len(found)}" if never else "")


def _number(value: float | None, unit: float) -> str:
    return words.UNKNOWN if value is None else f"{value:.0f}" if unit == 1 else f"{value:.2f}"
