"""What each remedy gains and what it loses, beside plain fine-tuning: the first arm of the section.

A run that a signal stopped counts at the checkpoint that it kept; any other at its end.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Moments, Term, base, best, end, measure
from holdfast.report.drawing import FAINT, INK, new_figure, settle, spread, style
from holdfast.report.groups import Section
from holdfast.report.run_data import RunData, SuiteFacts
from holdfast.report.sections.base import Drawing, Part, seeds_told, shown, signed_cell
from holdfast.report.sections.looks import Looks, looks
from holdfast.report.tables import Table
from holdfast.report.words import visible

GAP = 0.048
"""Distance of written names, as a share of a panel's height."""
FEWEST = 6
"""Arms from which on a section is a comparison of remedies, not of two or three ways."""


class Place(NamedTuple):
    """Where an arm's mark lies, in points of success."""

    x: float
    y: float


def part(section: Section) -> Part | None:
    """Draw and tabulate what was gained and lost; None with few arms, or without a retention suite.

    A study of what arms do from one another's checkpoints has a part of its own (`restoration`).
    """
    arms = [arm for arm in section.arms if arm.measured]
    if 2 * sum(arm.runs[0].start is not None for arm in arms) > len(arms):
        return None
    known = next((suite for suite in shown(section) if suite.purpose == "id" and suite.split != "train"), None)
    asked = next((suite for suite in shown(section) if suite.purpose == "ood"), None)
    kept = next((suite for suite in shown(section) if suite.purpose == "retention"), None)
    if len(arms) < FEWEST or known is None or asked is None or kept is None:
        return None
    plain = arms[0]
    rows = []
    for arm in arms:
        gained, lost = gain(arm, known, arms[0]), loss(arm, plain, asked)
        kept_share = gain(arm, kept, arms[0])
        steps = sorted({step for moment in kept_at(arm, known.name).values() for step in moment})
        told = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}" if steps else words.UNKNOWN
        flops = _spent(arm, arms)
        rows.append((lost, (arm.name, told, flops, signed_cell(gained), signed_cell(lost), signed_cell(kept_share))))
    rows.sort(key=lambda row: -(row[0].value if row[0] is not None and row[0].value is not None else -9.0))
    note = (
        f"Gained: {called(known)} since the base. Lost: {called(asked)} against the best moment of {plain.name}, what "
        f"was to be had (chosen in hindsight). Kept: {called(kept)} since the base. On the same problems. A run that a "
        f"signal stopped counts at the checkpoint it kept. {seeds_told(section)}"
    )
    columns = ("arm, by what is lost", "step", "FLOPs", "gained", "lost", "kept")
    table = Table(columns, tuple(row for _, row in rows), "lrrrrr", (note,))
    caption = f"Each mark is an arm; up and right is better. Bars are 95 % intervals. {note}"
    drawing = Drawing("remedies", partial(_figure, arms, known, asked, kept, looks(arms)), caption)
    return Part("Gained and lost", drawings=[drawing], tables=[table])


def kept_at(arm: Arm, suite: str) -> Moments:
    """The moment of the checkpoint that each run leaves its user with."""
    last = end(arm, suite)
    chosen = {run.seed: run.result.get("best_step") for run in arm.measured if run.status == "stopped"}
    return {seed: (step,) if (step := chosen.get(seed)) is not None else steps for seed, steps in last.items()}


def gain(arm: Arm, suite: SuiteFacts, began: Arm) -> Estimate | None:
    """Return the change of success since the base, before which ``began`` was asked: an arm may go on from another."""
    told = measure([Term(arm, suite.name, kept_at(arm, suite.name)), Term(began, suite.name, base(began), -1.0)])
    return None if told is None else told.estimate


def loss(arm: Arm, plain: Arm, suite: SuiteFacts) -> Estimate | None:
    """Return success against the best moment of plain fine-tuning."""
    top = best(plain, suite.name)
    told = measure([Term(arm, suite.name, kept_at(arm, suite.name)), Term(plain, suite.name, top, -1.0)])
    return None if told is None else told.estimate


def _spent(arm: Arm, arms: list[Arm]) -> str:
    """Mean FLOPs of the arm's runs, those before the checkpoint of another arm that they go on from included."""
    totals = [_total(run, arms) for run in arm.measured]
    found = [value for value in totals if value]
    return f"{sum(found) / len(found):.2g}" if found else words.UNKNOWN


def _total(run: RunData, arms: list[Arm]) -> float | None:
    own = run.records[-1].spent.get("flops")
    if run.start is None or own is None:
        return own
    before = [
        record.spent.get("flops")
        for arm in arms
        for other in arm.runs
        if (arm.name, other.seed) == (run.start.arm, run.seed)
        and (record := other.record_at(run.start.step)) is not None
    ]
    return own + before[0] if before and before[0] is not None else None


def _figure(arms: list[Arm], known: SuiteFacts, asked: SuiteFacts, kept: SuiteFacts, drawn: Looks) -> Figure:
    with style():
        figure = new_figure(4.6)
        panels = figure.subplots(1, 2, squeeze=False)[0]
        for panel, of in ((panels[0], asked), (panels[1], kept)):
            placed: dict[str, Place] = {}
            for arm in arms:
                y = loss(arm, arms[0], asked) if of is asked else gain(arm, kept, arms[0])
                place = _point(panel, gain(arm, known, arms[0]), y, drawn, arm)
                if place is not None:
                    placed[arm.name] = place
            _names(panel, placed)
            panel.set_xlabel(visible(f"gained on {called(known)}, points", 40))
        panels[0].set_ylabel(visible(f"lost on {called(asked)}, points", 40))
        panels[1].set_ylabel(visible(f"kept of {called(kept)}, points", 40))
        return settle(figure)


def _point(panel: Axes, x: Estimate | None, y: Estimate | None, drawn: Looks, arm: Arm) -> Place | None:
    """Draw an arm with its intervals, and return where."""
    if x is None or y is None or x.value is None or y.value is None:
        return None
    look = drawn.arms[arm.name]
    for low, high, across in ((x.low, x.high, True), (y.low, y.high, False)):
        if low is not None and high is not None:
            places = (
                ([100 * low, 100 * high], [100 * y.value] * 2)
                if across
                else ([100 * x.value] * 2, [100 * low, 100 * high])
            )
            panel.plot(*places, color=FAINT, lw=0.6, alpha=0.5, zorder=1)
    panel.plot([100 * x.value], [100 * y.value], color=look.color, marker=look.marker or "o", ms=6, mec="white", ls="")
    return Place(100 * x.value, 100 * y.value)


def _names(panel: Axes, placed: dict[str, Place]) -> None:
    """Write the arms beside the panel, each tied to its mark: many marks may lie on one spot."""
    low, high = panel.get_ylim()
    panel.set_ylim(low, high)  # what is written must not move it
    ordered = sorted(placed, key=lambda name: (placed[name].y, -placed[name].x))
    wished = [(placed[name].y - low) / (high - low) for name in ordered]
    for name, height in zip(ordered, spread(wished, GAP), strict=True):
        panel.annotate(
            visible(name, 24), (placed[name].x, placed[name].y), xytext=(1.05, height), textcoords="axes fraction",
            fontsize=6.5, color=INK, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.4, "alpha": 0.6, "shrinkB": 3, "relpos": (0, 0.5)},
        )  # fmt: skip
