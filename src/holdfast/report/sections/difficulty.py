"""What each arm gains over the first by the level of the problem, with the trend over levels."""

from __future__ import annotations

from holdfast.report.compare import called
from holdfast.report.difficulty import gains_by_level
from holdfast.report.groups import Section
from holdfast.report.sections.base import Part, seeds_told, shown, signed_cell
from holdfast.report.tables import Table


def part(section: Section) -> Part | None:
    """Tabulate each ID suite whose problems have levels; None if there is none."""
    arms = [arm for arm in section.arms if arm.measured]
    tables = []
    for suite in shown(section) if len(arms) > 1 else ():
        if suite.purpose != "id":
            continue
        told = {arm.name: gains_by_level(arm, arms[0], suite.name) for arm in arms[1:]}
        known = {name: found for name, found in told.items() if found is not None}
        levels = sorted({level for found in known.values() for level in found.gains})
        if len(levels) < 2:
            continue
        rows = [
            (name, *(signed_cell(found.gains.get(level)) for level in levels), signed_cell(found.slope))
            for name, found in known.items()
        ]
        note = (
            f"Success on {called(suite)} at the end minus that of {arms[0].name}, in points, on the same problems. "
            f"The trend is the slope of the line through the levels. {seeds_told(section)}"
        )
        heads = (f"{suite.name}: against {arms[0].name}", *(f"level {level}" for level in levels), "trend a level")
        tables.append(Table(heads, tuple(rows), "l" + "r" * (len(levels) + 1), (note,)))
    return Part("Gain by difficulty", tables=tables) if tables else None
