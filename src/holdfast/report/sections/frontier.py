"""The frontier of an arm's end: OOD against ID success, and OOD success against the size of the update."""

from __future__ import annotations

from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import base, end, level
from holdfast.report.drawing import INK, log_x, new_figure, settle, style
from holdfast.report.groups import Section
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Drawing, Part, id_suite, ood_suite, seeds_told
from holdfast.report.sections.looks import Looks, looks, percent_axis
from holdfast.report.sections.rates import moved
from holdfast.report.words import visible


def part(section: Section) -> Part | None:
    """Draw the ends of all arms; None with fewer than two, or without both kinds of suite."""
    known, asked = id_suite(section), ood_suite(section)
    arms = [arm for arm in section.arms if arm.measured]
    if len(arms) < 2 or known is None or asked is None:
        return None
    caption = (
        "Each mark is an arm at its end; bars are 95 % intervals. Left: up is better at equal ID success. Right: "
        "what is lost for how far the weights moved, the scale that modules and learning rates share."
    )
    return Part(
        "What is kept for what is gained",
        drawings=[
            Drawing(
                "frontier",
                partial(_figure, arms, known, asked, looks(section.arms)),
                f"{caption} {seeds_told(section)}",
            )
        ],
    )


def _figure(arms: list[Arm], known: SuiteFacts, asked: SuiteFacts, drawn: Looks) -> Figure:
    norms = [arm for arm in arms if moved(arm)]
    with style():
        figure = new_figure(3.9)
        panels = figure.subplots(1, 1 + bool(norms), squeeze=False, sharey=True)[0]
        for arm in arms:
            other = level(arm, asked.name, end(arm, asked.name))
            _point(panels[0], level(arm, known.name, end(arm, known.name)), other, drawn, arm)
            norm = moved(arm)
            if norm:
                _point(panels[-1], Estimate(norm, None, None, 0, 0, "reading"), other, drawn, arm)
        start = [level(arms[0], suite.name, base(arms[0])) for suite in (known, asked)]
        if start[0] is not None and start[1] is not None:
            panels[0].plot(
                [start[0].value], [start[1].value], marker="o", ms=9, mfc="none", mec=INK, ls="", label="base"
            )
            panels[0].legend(loc="best", fontsize=8.5)
        panels[0].set_xlabel(visible(f"success on {called(known)}", 40))
        panels[0].xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
        panels[0].set_ylabel(visible(f"success on {called(asked)}", 40))
        percent_axis(panels[0])
        if norms:
            log_x(panels[-1])
            panels[-1].set_xlabel("relative size of the update, ‖W − W₀‖ / ‖W₀‖")
        drawn.explain(figure)
        return settle(figure)


def _point(panel: Axes, x: Estimate | None, y: Estimate | None, drawn: Looks, arm: Arm) -> None:
    if x is None or y is None or x.value is None or y.value is None:
        return
    look = drawn.arms[arm.name]
    if x.low is not None and x.high is not None:
        panel.plot([x.low, x.high], [y.value, y.value], color=look.color, lw=0.9, alpha=0.7)
    if y.low is not None and y.high is not None:
        panel.plot([x.value, x.value], [y.low, y.high], color=look.color, lw=0.9, alpha=0.7)
    panel.plot([x.value], [y.value], color=look.color, marker=look.marker or "o", ms=7, mec="white", ls="")
