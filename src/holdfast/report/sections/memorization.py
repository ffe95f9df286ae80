"""Memorization: trained problems minus new ones, answers right under the trained rule, solutions that are recited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.report.compare import Arm, called, estimate
from holdfast.report.contrasts import Term, at, common_steps, end, mean_reading, measure, reading_name
from holdfast.report.drawing import FAINT, new_figure, scale_x, settle, style
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import (
    Drawing,
    Part,
    asked_throughout,
    cell,
    id_suite,
    seeds_told,
    shown,
    signed_cell,
    trained_suite,
)
from holdfast.report.sections.looks import Looks, looks, percent_axis
from holdfast.report.tables import Table
from holdfast.report.words import points, visible

HABITS = {
    "right_under_training_rule": "right under the training rule",
    "recites_training_solution": "recites a training solution",
    "old_action_space": "in the trained action space",
    "in_trained_action_space": "in the trained action space",
}
"""Readings that tell of the trained rule where another one was asked, and what they are called."""


def part(section: Section) -> Part | None:
    """Draw the gap and the habits against steps, and tabulate them at the end; None if neither was recorded."""
    seen, known = trained_suite(section), id_suite(section)
    gap = (seen, known) if seen is not None and known is not None and seen != known else None
    habits = _habits(section)
    if gap is None and not habits:
        return None
    drawn = looks(section.arms)
    drawings = []
    throughout = [pair for pair in habits if pair[0] in asked_throughout(section)]
    during = sorted(throughout, key=lambda pair: list(HABITS).index(pair[1]))
    if gap is not None or during:
        caption = (
            "Left: success on trained problems minus success on new ones under the same rule. Then: how often the "
            f"answer to a problem under another rule is what the trained rule asks for. {seeds_told(section)}"
        )
        drawings.append(Drawing("memorization", partial(_figure, section, gap, during[:2], drawn), caption))
    return Part("What it memorized", drawings=drawings, tables=[_table(section, gap, habits)])


def _habits(section: Section) -> list[tuple[SuiteFacts, str]]:
    """Return suites under another rule with the readings that tell of the trained one."""
    return [
        (suite, metric)
        for suite in shown(section)
        for metric in HABITS
        if suite.split != "train" and any(end(arm, suite.name, metric) for arm in section.arms)
    ]


def _figure(
    section: Section, gap: tuple[SuiteFacts, SuiteFacts] | None, habits: Sequence[tuple[SuiteFacts, str]], drawn: Looks
) -> Figure:
    with style():
        figure = new_figure(3.1)
        panels = figure.subplots(1, len(habits) + (gap is not None), squeeze=False)[0]
        rest = list(panels)
        if gap is not None:
            panel = rest.pop(0)
            for arm in section.arms:
                _gap_line(panel, arm, gap, drawn)
            panel.axhline(0, color=FAINT, lw=0.8)
            panel.yaxis.set_major_formatter(lambda value, _: points(value).removesuffix(".0"))
            panel.set_ylabel("points")
            panel.set_title(visible(f"{gap[0].name} minus {gap[1].name}", 40))
        for (suite, metric), panel in zip(habits, rest, strict=True):
            for arm in section.arms:
                steps = common_steps(arm, suite.name, metric)
                values = [mean_reading(arm, reading_name(suite.name, metric), step) for step in steps]
                look = drawn.arms[arm.name]
                panel.plot(steps, values, color=look.color, ls=look.dash, marker=look.marker, mec="white", mew=0.6)
            percent_axis(panel)
            panel.set_title(f"{visible(called(suite), 46)}\n{HABITS[metric]}", fontsize=8.5)
        for panel in panels:
            panel.set_xlabel("optimizer steps")
        scale_x(list(panels), [float(r.step) for run in section.runs for r in run.records], as_powers=False)
        drawn.explain(figure)
        return settle(figure)


def _gap_line(panel: Axes, arm: Arm, gap: tuple[SuiteFacts, SuiteFacts], drawn: Looks) -> None:
    seen, known = gap
    rows = []
    for step in common_steps(arm, seen.name):
        found = measure([Term(arm, seen.name, at(arm, step)), Term(arm, known.name, at(arm, step), -1.0)])
        if found is not None and found.estimate.value is not None:
            told = found.estimate
            rows.append(
                (
                    step,
                    told.value,
                    math.nan if told.low is None else told.low,
                    math.nan if told.high is None else told.high,
                )
            )
    if rows:
        x, y, low, high = zip(*rows, strict=True)
        look = drawn.arms[arm.name]
        panel.plot(x, y, color=look.color, ls=look.dash, marker=look.marker, mec="white", mew=0.6)
        panel.fill_between(x, low, high, color=look.color, alpha=0.08, lw=0)


def _table(
    section: Section, gap: tuple[SuiteFacts, SuiteFacts] | None, habits: Sequence[tuple[SuiteFacts, str]]
) -> Table:
    heads = [] if gap is None else [f"{gap[0].name} − {gap[1].name}, points"]
    heads += [f"{called(suite)}: {HABITS[metric]}" for suite, metric in habits]
    first = next((arm for arm in section.arms if arm.measured), None)
    rows = [] if first is None else [("before training", *_cells(first, gap, habits, step=0))]
    rows += [(arm.name, *_cells(arm, gap, habits, step=None)) for arm in section.arms if arm.measured]
    note = (
        "Shares are taken over the replies for which the question makes sense, all seeds together; their intervals "
        "speak of other problems only. A recited solution is one that training showed for other values, brackets "
        "aside."
    )
    return Table(("arm", *heads), tuple(rows), "l" + "r" * len(heads), (note,))


def _cells(
    arm: Arm, gap: tuple[SuiteFacts, SuiteFacts] | None, habits: Sequence[tuple[SuiteFacts, str]], *, step: int | None
) -> list[str]:
    cells = []
    if gap is not None:
        first, second = ((end(arm, s.name) if step is None else at(arm, step)) for s in gap)
        found = measure([Term(arm, gap[0].name, first), Term(arm, gap[1].name, second, -1.0)])
        cells.append(signed_cell(found.estimate if found else None))
    return cells + [cell(estimate(arm, suite.name, step, metric)) for suite, metric in habits]
