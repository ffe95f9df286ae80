"""What else the replies told at the end: format, parts of an answer, actions by type, how far a route was walked."""

from __future__ import annotations

from holdfast.report.compare import called, estimate
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Part, cell, shown
from holdfast.report.sections.memorization import HABITS
from holdfast.report.tables import Table, further_metrics


def part(section: Section) -> Part | None:
    """Tabulate every metric beside success and habits, suite by suite; None if nothing else was recorded."""
    tables = [table for suite in shown(section) if (table := _table(section, suite)) is not None]
    return Part("What else the replies told", tables=tables) if tables else None


def _table(section: Section, suite: SuiteFacts) -> Table | None:
    arms = [arm for arm in section.arms if arm.measured]
    found = [metric for metric in further_metrics(arms, suite.name) if metric not in HABITS]
    told = {metric: [estimate(arm, suite.name, None, metric) for arm in arms] for metric in found}
    # what is everywhere so, or nowhere, fills a page and tells nothing
    metrics = [metric for metric, own in told.items() if len({one.value for one in own if one is not None}) > 1]
    if not metrics:
        return None
    start = [estimate(arms[0], suite.name, 0, metric) for metric in metrics]
    rows = [("before training", *map(cell, start))]
    rows += [(arm.name, *(cell(told[metric][number]) for metric in metrics)) for number, arm in enumerate(arms)]
    heads = (called(suite), *(metric.replace("_", " ") for metric in metrics))
    note = (
        "Shares of first replies for which the question makes sense, all seeds together; intervals speak of other "
        "problems. What is the same for all arms is left out."
    )
    return Table(heads, tuple(rows), "l" + "r" * len(metrics), (note,))
