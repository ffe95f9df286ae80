"""What a part of a page is made of, and which suites it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.groups import Section
from holdfast.report.run_data import VALIDATION, SuiteFacts
from holdfast.report.tables import Table


class Drawing(NamedTuple):
    """A figure with its file name and caption, drawn when it is asked for: tables do not wait for pictures."""

    name: str
    draw: Callable[[], Figure]
    caption: str


@dataclass(frozen=True)
class Part:
    """One part of one section.

    Attributes:
        title: Its heading.
        paragraphs: Words above the figures.
        drawings: Figures.
        tables: Tables below them, each with its notes.
    """

    title: str
    paragraphs: Sequence[str] = ()
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = field(default_factory=tuple)


def shown(section: Section) -> list[SuiteFacts]:
    """Return the suites that tables show: all but those that choosing reads."""
    return [suite for suite in section.suites if suite.split != VALIDATION]


def asked_throughout(section: Section) -> list[SuiteFacts]:
    """Return the shown suites that are asked at every moment."""
    return [suite for suite in shown(section) if suite.asked_between]


def trained_suite(section: Section) -> SuiteFacts | None:
    """Return the suite that asks what was trained; None if there is none."""
    return next((suite for suite in asked_throughout(section) if suite.split == "train"), None)


def id_suite(section: Section) -> SuiteFacts | None:
    """Return the first suite of held-out problems under the training rule, else any ID suite."""
    known = [suite for suite in asked_throughout(section) if suite.purpose == "id"]
    return next((suite for suite in known if suite.split != "train"), known[0] if known else None)


def ood_suite(section: Section) -> SuiteFacts | None:
    """Return the first OOD suite that is asked at every moment."""
    return next((suite for suite in asked_throughout(section) if suite.purpose == "ood"), None)


def validation_suite(section: Section) -> SuiteFacts | None:
    """Return the suite by which a practitioner may choose: that of the split ``validation``, else the ID suite."""
    own = next((suite for suite in section.suites if suite.split == VALIDATION and suite.purpose == "id"), None)
    return own or id_suite(section)


def cell(estimate: Estimate | None) -> str:
    """Return a rate for a table: its value, and its interval on the line below."""
    if estimate is None or estimate.value is None:
        return words.UNKNOWN
    ends = "" if estimate.low is None else f"\n{words.interval(estimate.low, estimate.high)}"
    return words.percent(estimate.value) + ends


def signed_cell(estimate: Estimate | None) -> str:
    """Return a difference in points for a table, its interval on the line below."""
    if estimate is None or estimate.value is None:
        return words.UNKNOWN
    ends = "" if estimate.low is None else f"\n{words.signed_interval(estimate.low, estimate.high)}"
    return words.points(estimate.value) + ends


def seeds_told(section: Section) -> str:
    """Return what the intervals of a section speak of."""
    seeds = sorted({run.seed for run in section.runs})
    if len(seeds) == 1:
        return "One seed: intervals (95 %) speak of other problems only."
    return f"Means over {len(seeds)} seeds; intervals (95 %) speak of other seeds and other problems."
