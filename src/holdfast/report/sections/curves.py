"""ID and OOD success against steps, with the paper's text beside; and against exact and trainable FLOPs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import at, common_steps, level, reading_name
from holdfast.report.drawing import FAINT, Look, new_figure, scale_x, settle, style
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections import paper
from holdfast.report.sections.base import (
    Drawing,
    Part,
    asked_throughout,
    id_suite,
    ood_suite,
    seeds_told,
    trained_suite,
)
from holdfast.report.sections.looks import Looks, looks, percent_axis
from holdfast.report.words import visible

AXES = {
    "steps": "optimizer steps",
    "flops": "training FLOPs, exact",
    "flops_trainable": "6 · trainable parameters · tokens",
}
FEWEST = 3
MOST_BANDS = 6
"""Arms up to which a panel has room for bands and for single seeds; the tables have their intervals in any case."""


def part(section: Section) -> Part | None:
    """Draw the curves of a section that was measured at three moments or more."""
    suites = [suite for suite in asked_throughout(section) if _moments(section, suite) >= FEWEST]
    if not suites:
        return None
    drawn = looks(section.arms)
    several = len({run.seed for run in section.runs}) > 1
    few = len(section.arms) <= MOST_BANDS
    bands = "" if few else " Too many arms for bands and single seeds; the tables have them."
    told = f"{seeds_told(section)}{bands}{' Thin lines: one seed each.' if several and few else ''}"
    drawings = [
        Drawing(
            "steps", partial(_by_steps, section, suites, drawn), f"Success against steps. {told}{_paper_told(section)}"
        )
    ]
    known, asked = trained_suite(section) or id_suite(section), ood_suite(section)
    if known is not None and asked is not None and _spends_apart(section):
        caption = (
            "The same against what training spent: exact FLOPs (every matrix product that is computed; frozen "
            "weights save their weight gradients only), and the literal count of trained parameters."
        )
        drawings.append(Drawing("budgets", partial(_by_budgets, section, [known, asked], drawn), caption))
    said = paper.table(section)
    return Part("Success while training", drawings=drawings, tables=[said] if said.rows else [])


def _by_steps(section: Section, suites: Sequence[SuiteFacts], drawn: Looks) -> Figure:
    rows = [[suite for suite in suites if suite.purpose == "id"], [suite for suite in suites if suite.purpose != "id"]]
    rows = [row for row in rows if row]
    said = paper.ranges(section)
    width = max(map(len, rows))
    with style():
        figure = new_figure(0.6 + 2.6 * len(rows))
        columns = width + bool(said)
        ratios = [1.0] * width + [0.42] * bool(said)
        grid = figure.subplots(len(rows), columns, squeeze=False, sharey=True, width_ratios=ratios)
        for own, panels in zip(rows, grid, strict=True):
            for suite, panel in zip(own, panels, strict=False):
                _panel(panel, suite, section, drawn, "steps")
            panels[0].set_ylabel("success")
            for panel in panels[len(own) : width]:
                panel.set_axis_off()
            if said:
                paper.draw(panels[-1], [one for one in said if one.purpose == own[0].purpose], section, drawn)
        scale_x(
            [p for own, panels in zip(rows, grid, strict=True) for p in panels[: len(own)]],
            _places(section, "steps"),
            as_powers=False,
        )
        drawn.explain(figure)
        return settle(figure)


def _by_budgets(section: Section, suites: Sequence[SuiteFacts], drawn: Looks) -> Figure:
    axes = [axis for axis in ("flops", "flops_trainable") if _has(section, axis)]
    with style():
        figure = new_figure(0.6 + 2.4 * len(suites))
        grid = figure.subplots(len(suites), len(axes), squeeze=False, sharey=True)
        for suite, panels in zip(suites, grid, strict=True):
            for axis, panel in zip(axes, panels, strict=True):
                _panel(panel, suite, section, drawn, axis)
            panels[0].set_ylabel("success")
        for number, axis in enumerate(axes):
            scale_x([row[number] for row in grid], _places(section, axis), as_powers=True)
        drawn.explain(figure)
        return settle(figure)


def _panel(panel: Axes, suite: SuiteFacts, section: Section, drawn: Looks, axis: str) -> None:
    for arm in section.arms:
        if suite.name in arm.suites:
            band = 0.12 if len(section.arms) <= MOST_BANDS else 0.0
            _line(panel, arm, suite.name, drawn.arms[arm.name], axis, band=band)
    percent_axis(panel)
    told = [suite.rule, "" if suite.exposure == "unknown" else f"rule {suite.exposure}"]
    told.append("trained problems" if suite.split == "train" else "")
    panel.set_title(visible(called(suite), 40), fontweight="bold", pad=14)
    panel.annotate(
        visible(", ".join(filter(None, told)), 60), (0, 1), xytext=(0, 4), xycoords="axes fraction",
        textcoords="offset points", fontsize=8, color=FAINT,
    )  # fmt: skip
    panel.set_xlabel(AXES[axis])


def _line(panel: Axes, arm: Arm, suite: str, drawn: Look, axis: str, *, band: float) -> None:
    name = reading_name(suite)
    for run in arm.measured if len(arm.measured) > 1 and band else ():
        points = [(record.spent.get(axis), record.readings.get(name)) for record in run.records]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        if known:
            panel.plot(*zip(*known, strict=True), color=drawn.color, lw=0.5, alpha=0.35, ls=drawn.dash)
    rows = []
    for step in common_steps(arm, suite):
        made, place = level(arm, suite, at(arm, step)), _spent(arm, step, axis)
        if made is not None and made.value is not None and place is not None:
            ends = (math.nan, math.nan) if made.low is None or made.high is None else (made.low, made.high)
            rows.append((place, made.value, *ends))
    if rows:
        x, y, low, high = zip(*rows, strict=True)
        marker = drawn.marker if len(x) <= 16 else ""
        panel.plot(x, y, color=drawn.color, ls=drawn.dash, marker=marker, mec="white", mew=0.6, lw=1.6)
        if band:
            panel.fill_between(x, low, high, color=drawn.color, alpha=band, lw=0)


def _paper_told(section: Section) -> str:
    said = paper.ranges(section)
    return (
        f" Right: what the text of the paper says of its own figure ({said[0].source}); it gives no curve."
        if said
        else ""
    )


def _spent(arm: Arm, step: int, axis: str) -> float | None:
    found = [record.spent.get(axis) for run in arm.measured if (record := run.record_at(step)) is not None]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _places(section: Section, axis: str) -> list[float]:
    found = [record.spent.get(axis) for run in section.runs for record in run.records]
    return [place for place in found if place is not None]


def _has(section: Section, axis: str) -> bool:
    return any(place > 0 for place in _places(section, axis))


def _spends_apart(section: Section) -> bool:
    """Whether a step costs some arms more than others; otherwise steps tell all."""
    ends = [run.records[-1] for run in section.runs if run.records and run.records[-1].step]
    each = [end.spent["flops"] / end.step for end in ends if end.spent.get("flops")]
    return bool(each) and max(each) > 1.02 * min(each)


def _moments(section: Section, suite: SuiteFacts) -> int:
    return max((len(common_steps(arm, suite.name)) for arm in section.arms), default=0)
