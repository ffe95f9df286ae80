"""Which answer is given for which: tables of confusion of answers that fall into a few classes, such as actions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from holdfast.report import words
from holdfast.report.compare import Arm, called, end_of
from holdfast.report.drawing import COLORS, INK, new_figure, settle, style
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Drawing, Part, asked_throughout
from holdfast.report.tables import Table
from holdfast.report.words import visible

Counts = Counter[tuple[str, str]]
WIDEST = 3
"""Matrices beside each other."""
SHOWN_FROM, MOST_NUMBERS = 0.02, 12
"""Smallest share that is written into its field, and the most columns in which there is room for it."""
MOST = 9
"""Matrices of one suite; with more arms the table must do."""


def part(section: Section) -> Part | None:
    """Draw the confusion at the base and at each arm's end; None where answers have no classes."""
    suites = [suite for suite in asked_throughout(section) if suite.split != "train"]
    first = next((arm for arm in section.arms if arm.measured), None)
    columns = [] if first is None else [("before training", _counts(first, step=0)), *_ends(section)]
    asked = [suite for suite in suites if any(counts.get(suite.name) for _, counts in columns)]
    if not asked:
        return None
    caption = (
        "Rows: the right class; columns: the class of the reply at its first attempt. Color and number: share of the "
        "row in percent. Classes of the trained rule stand beside those of the asked one."
    )
    drawings = (
        []
        if len(columns) > MOST
        else [
            Drawing(
                f"confusion-{suite.name}",
                partial(_figure, suite, [(name, c.get(suite.name, Counter())) for name, c in columns]),
                caption,
            )
            for suite in asked
        ]
    )
    rows = [
        (called(suite), name, *_told(counts.get(suite.name, Counter()))) for suite in asked for name, counts in columns
    ]
    heads = ("suite", "arm", "replies", "right class", "most frequent mistake")
    return Part("Which answer is given for which", drawings=drawings, tables=[Table(heads, tuple(rows), "llrrl")])


def _ends(section: Section) -> list[tuple[str, dict[str, Counts]]]:
    return [(arm.name, _counts(arm, step=None)) for arm in section.arms if arm.measured]


def _counts(arm: Arm, *, step: int | None) -> dict[str, Counts]:
    """Count pairs of classes over all seeds, suite by suite; before training, seeds do not differ and one counts."""
    found: dict[str, Counts] = {}
    for run in arm.measured[:1] if step == 0 else arm.measured:
        for suite in run.suites:
            record = end_of(run, suite) if step is None else run.record_at(step)
            pairs = [] if record is None else [s.confusion for s in run.samples(suite, record.step) if s.confusion]
            if pairs:
                found.setdefault(suite, Counter()).update(pairs)
    return found


def _figure(suite: SuiteFacts, columns: Sequence[tuple[str, Counts]]) -> Figure:
    right = sorted({pair[0] for _, counts in columns for pair in counts})
    said = [*right, *sorted({pair[1] for _, counts in columns for pair in counts} - set(right))]
    wide = min(WIDEST, len(columns))
    lines = math.ceil(len(columns) / wide)
    with style():
        figure = new_figure(0.5 + lines * (0.9 + 0.2 * len(right) + 0.35))
        panels = figure.subplots(lines, wide, squeeze=False, sharey=True).flatten().tolist()
        for (name, counts), panel in zip(columns, panels, strict=False):
            _matrix(panel, counts, right, said, name)
        for panel in panels[len(columns) :]:
            panel.set_axis_off()
        figure.suptitle(visible(called(suite), 60), x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        return settle(figure)


def _matrix(panel: Axes, counts: Counts, right: Sequence[str], said: Sequence[str], name: str) -> None:
    totals = {row: sum(n for (own, _), n in counts.items() if own == row) for row in right}
    shares = [[counts[row, column] / totals[row] if totals[row] else math.nan for column in said] for row in right]
    colors = LinearSegmentedColormap.from_list("share", ["#ffffff", COLORS[0]])
    panel.pcolormesh(shares, cmap=colors, vmin=0, vmax=1, edgecolors="#e5e7eb", linewidth=0.5)
    for line, row in enumerate(shares if len(said) <= MOST_NUMBERS else []):
        for column, share in enumerate(row):
            if share >= SHOWN_FROM:
                ink = "white" if share > 0.6 else INK
                panel.text(
                    column + 0.5, line + 0.5, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=ink
                )
    panel.set_ylim(len(right), 0)
    panel.set_yticks([k + 0.5 for k in range(len(right))], [visible(one, 16) for one in right], fontsize=7.5)
    panel.set_xticks([k + 0.5 for k in range(len(said))], [visible(one, 16) for one in said], rotation=90, fontsize=7.5)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.set_title(f"{visible(name, 40)}, {counts.total()} replies", fontsize=8.5)


def _told(counts: Counts) -> tuple[str, str, str]:
    total = counts.total()
    if not total:
        return words.UNKNOWN, words.UNKNOWN, words.UNKNOWN
    right = sum(n for (own, said), n in counts.items() if own == said)
    wrong = Counter({pair: n for pair, n in counts.items() if pair[0] != pair[1]})
    if not wrong:
        return str(total), words.percent(right / total), "none"
    (own, said), n = max(wrong.items(), key=lambda item: (item[1], item[0]))
    return str(total), words.percent(right / total), f"{said} for {own} ({n} of {wrong.total()} mistakes)"
