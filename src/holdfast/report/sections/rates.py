"""The learning rate three ways: as such, as a fraction of the one that collapses, and as the size of the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.report import words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import best, common_steps, end, level, mean_reading
from holdfast.report.drawing import COLORS, DASHES, FAINT, MARKERS, log_x, new_figure, settle, style
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Drawing, Part, cell, id_suite, ood_suite, seeds_told, trained_suite
from holdfast.report.sections.looks import RATE, percent_axis
from holdfast.report.tables import Table
from holdfast.report.words import visible
from holdfast.signals.reading import UPDATE_NORM

COLLAPSE = 0.1
"""Loss of OOD success since the arm's best moment from which on a rate is said to collapse."""
FEWEST = 3


@dataclass(frozen=True)
class Line:
    """Arms that differ in the learning rate alone, from the smallest to the largest."""

    name: str
    arms: tuple[Arm, ...]


def part(section: Section) -> Part | None:
    """Draw success at the end against the rate; None with fewer than three rates."""
    lines = rate_lines(section)
    asked, known = ood_suite(section), trained_suite(section) or id_suite(section)
    if not lines or asked is None or known is None:
        return None
    suites = (
        [asked, known] if known.name == "id" else [asked, *(s for s in (id_suite(section), known) if s is not None)]
    )
    suites = list(dict.fromkeys(suites))
    told = [f"{line.name or 'all rates'}: {_collapse_told(collapsing(line, asked.name), asked)}" for line in lines]
    caption = (
        "Success at the end against the learning rate, against the rate as a fraction of the smallest one that "
        "collapses (OOD success at least 10 points below its best moment), and against how far the weights moved "
        f"from the base (‖W − W₀‖ / ‖W₀‖). {seeds_told(section)}"
    )
    return Part(
        "The learning rate",
        paragraphs=told,
        drawings=[Drawing("rates", partial(_figure, lines, suites, asked), caption)],
        tables=[_table(line, suites, asked) for line in lines],
    )


def rate_lines(section: Section) -> list[Line]:
    """Return the groups of arms that differ in nothing but at least three learning rates."""
    groups: dict[str, list[Arm]] = {}
    for arm in section.arms:
        if arm.measured:
            others = [point for axis, point in arm.runs[0].axes.items() if axis != RATE]
            same = [
                point for point in others if any(point not in other.runs[0].axes.values() for other in section.arms)
            ]
            groups.setdefault(", ".join(same), []).append(arm)
    lines = [Line(name, tuple(sorted(arms, key=rate_of))) for name, arms in groups.items()]
    return [line for line in lines if len({rate_of(arm) for arm in line.arms}) == len(line.arms) >= FEWEST]


def rate_of(arm: Arm) -> float:
    """Return an arm's learning rate."""
    return float(arm.runs[0].recipe.get(RATE, 0.0))


def collapsing(line: Line, suite: str) -> float | None:
    """Return the smallest rate whose OOD success ends at least 10 points below its best moment; None if none does."""
    for arm in line.arms:
        peak, last = level(arm, suite, best(arm, suite)), level(arm, suite, end(arm, suite))
        if peak and last and peak.value is not None and last.value is not None and peak.value - last.value >= COLLAPSE:
            return rate_of(arm)
    return None


def moved(arm: Arm) -> float | None:
    """Return how far an arm moved the weights by its end, mean over seeds; None if that was not recorded."""
    last = min(run.records[-1].step for run in arm.measured)
    return mean_reading(arm, UPDATE_NORM, last)


def _figure(lines: Sequence[Line], suites: Sequence[SuiteFacts], asked: SuiteFacts) -> Figure:
    fractions = any(collapsing(line, asked.name) for line in lines)
    norms = any(moved(arm) for line in lines for arm in line.arms)
    columns = [
        "learning rate",
        *["fraction of the collapsing rate"] * fractions,
        *["relative size of the update"] * norms,
    ]
    with style():
        figure = new_figure(0.5 + 2.4 * len(suites))
        grid = figure.subplots(len(suites), len(columns), squeeze=False, sharey=True, sharex="col")
        for suite, panels in zip(suites, grid, strict=True):
            for column, panel in zip(columns, panels, strict=True):
                for number, line in enumerate(lines):
                    _draw(panel, line, suite.name, column, number, asked=asked.name)
                log_x(panel)
                percent_axis(panel)
                panel.tick_params(labelbottom=True)
                panel.set_xlabel(column)
            panels[0].set_ylabel(visible(f"success on {called(suite)}", 30))
        if fractions:
            for panels in grid:
                panels[1].axvline(1, color=FAINT, lw=0.8, ls=":")
        handles, names = grid[0][0].get_legend_handles_labels()
        if len(lines) > 1:
            figure.legend(handles, names, loc="outside upper left", ncols=4, fontsize=8.5)
        return settle(figure)


def _draw(panel: Axes, line: Line, suite: str, column: str, number: int, *, asked: str) -> None:
    collapse = collapsing(line, asked)
    points = []
    for arm in line.arms:
        made = level(arm, suite, end(arm, suite))
        place = rate_of(arm)
        if column.startswith("fraction"):
            place = place / collapse if collapse else math.nan
        elif column.startswith("relative"):
            place = moved(arm) or math.nan
        if made is not None and made.value is not None and math.isfinite(place) and place > 0:
            points.append((place, made))
    points.sort(key=lambda pair: pair[0])
    x, y = [place for place, _ in points], [made.value or 0.0 for _, made in points]
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    panel.plot(x, y, color=color, ls=DASHES[number % 2], marker=marker, mec="white", label=visible(line.name, 40))
    for place, made in points:
        if made.low is not None and made.high is not None:
            panel.plot([place, place], [made.low, made.high], color=color, lw=1)


def _table(line: Line, suites: Sequence[SuiteFacts], asked: SuiteFacts) -> Table:
    collapse = collapsing(line, asked.name)
    rows = []
    for arm in line.arms:
        peak = best(arm, asked.name)
        steps = sorted({step for own in peak.values() for step in own})
        rows.append(
            (
                f"{rate_of(arm):g}",
                words.UNKNOWN if not collapse else f"{rate_of(arm) / collapse:.3g}",
                words.UNKNOWN if moved(arm) is None else f"{moved(arm):.3g}",
                *(cell(level(arm, suite.name, end(arm, suite.name))) for suite in suites),
                cell(level(arm, asked.name, peak)) if common_steps(arm, asked.name) else words.UNKNOWN,
                ", ".join(map(str, steps)),
                *(_meter(arm, name) for name in ("swallowed_update_fraction", "unchanged_after_export_fraction")),
            )
        )
    columns = (
        line.name or "rate", "of collapsing", "update size", *(f"{called(suite)}, end" for suite in suites),
        f"{asked.name}, best moment", "step", "steps rounded away", "unchanged after export",
    )  # fmt: skip
    note = (
        f"The best moment of {asked.name} is chosen in hindsight. Steps rounded away: share of one step's updates "
        "below the spacing of the weights' file dtype (with float32 masters they are kept). Unchanged after export: "
        "share of the trained weights that end exactly where they began."
    )
    return Table(columns, tuple(rows), "l" + "r" * (len(columns) - 1), (note,))


def _meter(arm: Arm, name: str) -> str:
    found = [(run.result.get("meters") or {}).get(name) for run in arm.measured]
    known = [share for share in found if share is not None]
    return words.percent(sum(known) / len(known)) if known else words.UNKNOWN


def _collapse_told(rate: float | None, asked: SuiteFacts) -> str:
    return (
        f"no rate collapses on {asked.name}" if rate is None else f"{asked.name} collapses from a rate of {rate:g} on"
    )
