"""Which weights move at all under several methods, where arms keep what learns in different dtypes."""

from __future__ import annotations

from holdfast.report import over_seeds, words
from holdfast.report.compare import Arm
from holdfast.report.groups import Section, method_of
from holdfast.report.sections.base import Part
from holdfast.report.tables import Table

METER = "unchanged_after_export_fraction"


def part(section: Section) -> Part | None:
    """Tabulate the share of weights that end where they began; None unless arms differ in method and in masters."""
    arms = [arm for arm in section.arms if arm.measured and _meter(arm)]
    kept = {str(arm.runs[0].recipe.get("master_dtype", "float32")) for arm in arms}
    if len(kept) < 2 or len({method_of(arm.runs[0]) for arm in arms}) < 2:
        return None
    rows = []
    for arm in arms:
        found = _meter(arm)
        told = over_seeds.of_seeds(found)
        ends = words.interval(told.low, told.high) if told.low is not None else words.UNKNOWN
        rows.append(
            (
                arm.name,
                method_of(arm.runs[0]),
                str(arm.runs[0].recipe.get("master_dtype", "float32")),
                words.percent(told.value),
                ends,
                _update(arm),
            )
        )
    columns = ("arm", "method", "masters", "unchanged weights", "95 %", "update size")
    note = (
        "Share of the trained weights that end, as exported, exactly where they began; interval over seeds. Update "
        "size: ‖W − W₀‖ / ‖W₀‖. With `stored` masters a step below half the spacing of the weights is lost; with "
        "float32 masters steps add up, and only what is still too small at the end is lost in the export."
    )
    return Part("Which weights move at all", tables=[Table(columns, tuple(rows), "lllrrr", (note,))])


def _meter(arm: Arm) -> list[float]:
    found = [(run.result.get("meters") or {}).get(METER) for run in arm.measured]
    return [share for share in found if share is not None]


def _update(arm: Arm) -> str:
    found = [run.records[-1].readings.get("update_norm") for run in arm.measured]
    known = [value for value in found if value is not None]
    return f"{sum(known) / len(known):.2g}" if known else words.UNKNOWN
