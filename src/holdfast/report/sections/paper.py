"""What a paper's text says of its own figures, read from ``paper_figures.yaml`` and drawn beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml
from matplotlib.axes import Axes

from holdfast.report import words
from holdfast.report.compare import Arm
from holdfast.report.drawing import FAINT, INK
from holdfast.report.groups import Section, facts
from holdfast.report.sections.looks import Looks, percent_axis
from holdfast.report.tables import Table
from holdfast.report.words import visible


@dataclass(frozen=True)
class Said:
    """One statement of a paper about one arm.

    Attributes:
        source: Name of the paper.
        purpose: ``id`` or ``ood``.
        arm: Facts that find the same arm of ours; empty where it is a learning rate.
        rate: The paper's learning rate; empty where it is an arm.
        low, high: Bounds in percent, as far as the text gives them.
        near: A number in percent to which the text says it is close.
        words, where: What it says and where.
    """

    source: str
    purpose: str
    arm: Mapping[str, Any]
    rate: str
    low: float | None
    high: float | None
    near: float | None
    words: str
    where: str


@dataclass(frozen=True)
class Best:
    """One entry of a paper's table of best results, in percent."""

    source: str
    arm: Mapping[str, Any]
    name: str
    value: float


def ranges(section: Section) -> list[Said]:
    """Return what papers say of the figure that a section's study repeats, for its environment."""
    studies = {run.study.removesuffix("-quick") for run in section.runs}
    return [
        Said(
            paper["name"], row["purpose"], row.get("arm", {}), row.get("rate", ""), row.get("low"), row.get("high"),
            row.get("near"), row["words"], row["where"],
        )
        for paper in _file().values()
        for row in paper["ranges"]
        if row["study"] in studies and row["task"] == environment_of(section)
    ]  # fmt: skip


def table(section: Section) -> Table:
    """Return the statements with their words and places: the source of what `draw` draws."""
    rows = [(_name(one, section), one.purpose, _number(one), f"“{one.words}”", one.where) for one in ranges(section)]
    note = "Of its own model, tasks and rates; a learning rate of ours stands where it does only in its order."
    return Table(("the paper says of", "suite", "percent", "words", "where"), tuple(rows), "lllll", (note,))


def best(section: Section) -> list[Best]:
    """Return the entries of papers' tables of best results for a section's environment."""
    return [
        Best(paper["name"], row["arm"], row.get("name", ""), row["value"])
        for paper in _file().values()
        for row in paper["best"]
        if row["task"] == environment_of(section)
    ]


def environment_of(section: Section) -> str:
    """Return the environment that a section's runs learn."""
    return str((section.runs[0].recipe.get("data") or {}).get("environment", ""))


def same(arm: Arm, asked: Mapping[str, Any]) -> bool:
    """Whether an arm of ours has the facts by which a paper's arm is found."""
    known = facts(arm.runs[0])
    return all(known.get(key) in (value if isinstance(value, list) else [value]) for key, value in asked.items())


def draw(panel: Axes, said: Sequence[Said], section: Section, drawn: Looks) -> None:
    """Draw statements side by side: a bar for a range, an arrow for one bound, a ring for "close to"."""
    for place, one in enumerate(said):
        color = next((drawn.arms[arm.name].color for arm in section.arms if one.arm and same(arm, one.arm)), FAINT)
        _mark(panel, place, one, color)
    percent_axis(panel)
    panel.set_xlim(-0.7, max(1, len(said)) - 0.3)
    names = [visible(_name(one, section), 16) for one in said]
    panel.set_xticks(range(len(said)), names, rotation=40, ha="right", fontsize=8)
    panel.tick_params(length=0)
    panel.grid(visible=False, axis="x")
    panel.set_title("the paper's text", fontsize=8.5, pad=14, color=FAINT)


def _number(one: Said) -> str:
    if one.low is not None and one.high is not None:
        return f"{one.low:g}–{one.high:g}"
    if one.low is not None:
        return f"> {one.low:g}"
    if one.high is not None:
        return f"< {one.high:g}"
    return words.UNKNOWN if one.near is None else f"≈ {one.near:g}"


def _mark(panel: Axes, place: int, one: Said, color: str) -> None:
    low, high, near = (None if value is None else value / 100 for value in (one.low, one.high, one.near))
    above, shift = near, 6.0
    if low is not None and high is not None:
        panel.bar(place, high - low, 0.5, bottom=low, color=color, alpha=0.55)
        above, shift = high, 3.0
    elif low is not None or high is not None:
        start, reach = (low, 0.12) if low is not None else (high or 0.0, -0.04)
        panel.plot([place - 0.25, place + 0.25], [start, start], color=color, lw=2)
        arrow = {"arrowstyle": "->", "color": color, "lw": 1.4}
        panel.annotate("", (place, start + reach), (place, start), arrowprops=arrow)
        above, shift = max(start, start + reach), 3.0
    elif near is not None:
        panel.plot([place], [near], marker="o", ms=6, mfc="none", mec=color, ls="")
        shift = -11.0 if near > 0.5 else 6.0
    else:
        panel.annotate("no number", (place, 0.02), rotation=90, ha="center", va="bottom", fontsize=7.5, color=INK)
    if above is not None:
        panel.annotate(
            _number(one), (place, above), xytext=(0, shift), textcoords="offset points", ha="center", fontsize=7.5
        )


def _name(one: Said, section: Section) -> str:
    if one.rate:
        return one.rate
    return next((_own(arm) for arm in section.arms if same(arm, one.arm)), str(next(iter(one.arm.values()), "")))


def _own(arm: Arm) -> str:
    """The shortest name that tells a module."""
    return arm.runs[0].axes.get("module", arm.name)


@cache
def _file() -> dict[str, Any]:
    text = resources.files("holdfast.report").joinpath("paper_figures.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found
