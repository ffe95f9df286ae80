"""The figures of a report, each a function from arms to a matplotlib figure.

One color and one marker an arm in all of them. Several seeds: thin lines are seeds, the thick one is their pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from holdfast.records import Record
from holdfast.report.compare import Arm, all_suites, called, estimate
from holdfast.report.drawing import FAINT, INK, EndLabel, Look, label_ends, look, new_figure, scale_x, settle, style
from holdfast.report.run_data import RunData, SuiteFacts
from holdfast.report.words import amount, visible

LONGEST = 44
"""Characters of a name that a figure has room for."""
MANY_ARMS = 7
"""Arms from which on a legend above the panels replaces the words at the ends of the lines."""


def success(groups: Sequence[Arm], *, against: str) -> Figure:
    """Draw success under every suite against ``steps`` or ``flops``, with bands of 95 %."""
    suites = all_suites(groups)
    columns = min(2, len(suites))
    lines = math.ceil(len(suites) / columns)
    with style():
        figure = new_figure(0.35 + 2.75 * lines)
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten().tolist()
        labels = [_success_panel(panel, suite, groups, against) for panel, suite in zip(panels, suites, strict=False)]
        for number, panel in enumerate(panels):
            panel.tick_params(labelbottom=True)
            if number % columns == 0:
                panel.set_ylabel("success")
            if number + columns >= len(suites):
                panel.set_xlabel("optimizer steps" if against == "steps" else "training FLOPs")
        for panel in panels[len(suites) :]:
            panel.set_axis_off()
        scale_x(panels[: len(suites)], _places(groups, against), as_powers=against == "flops")
        _name_arms(figure, panels, labels, groups)
        return settle(figure)


def frontier(groups: Sequence[Arm]) -> Figure | None:
    """Draw OOD success against ID success, moment by moment; None without both kinds of suite."""
    suites = all_suites(groups)
    kinds = {purpose: [suite for suite in suites if suite.purpose == purpose] for purpose in ("id", "ood")}
    if not kinds["id"] or not kinds["ood"]:
        return None
    known, others = kinds["id"][0], kinds["ood"]
    columns = min(2, len(others))
    lines = math.ceil(len(others) / columns)
    with style():
        figure = new_figure(0.35 + 3.2 * lines)
        panels = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
        for panel, suite in zip(panels, others, strict=False):
            _frontier_panel(panel, known, suite, groups)
        for panel in panels[len(others) :]:
            panel.set_axis_off()
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=min(5, len(names)), fontsize=8.5)
        return settle(figure)


def learning_curves(groups: Sequence[Arm]) -> Figure | None:
    """Draw the plain NLL of training batches against steps; None if nothing was logged."""

    def on_a_logarithmic_scale(panel: Axes) -> None:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_ylabel("NLL of the batch, nats a token")

    def end(last: Sequence[float]) -> float:
        return math.exp(sum(map(math.log, last)) / len(last))

    return _of_steps(groups, lambda run: [(x, y) for x, y in _logged(run, "nll") if y > 0], end, on_a_logarithmic_scale)


def episodes(groups: Sequence[Arm]) -> Figure | None:
    """Draw how many of the episodes that arms learned from were solved, against steps; None if none played."""

    def in_percent(panel: Axes) -> None:
        panel.set_ylim(0, 1)
        panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        panel.set_ylabel("solved episodes")

    return _of_steps(groups, lambda run: _logged(run, "train_success"), lambda last: sum(last) / len(last), in_percent)


def _of_steps(
    groups: Sequence[Arm],
    curve_of: Callable[[RunData], list[tuple[float, float]]],
    end: Callable[[Sequence[float]], float],
    shape: Callable[[Axes], None],
) -> Figure | None:
    """Draw a curve a run against steps; None if no run has one.

    Args:
        groups: Arms, one color each.
        curve_of: Points of a run's curve.
        end: Where an arm's name stands, from the last values of its runs.
        shape: Gives the panel its scale and words.
    """
    with style():
        figure = new_figure(2.9)
        panel = figure.subplots()
        labels = []
        for number, arm in enumerate(groups):
            drawn = look(number)
            curves = [curve for run in arm.runs if (curve := curve_of(run))]
            for curve in curves:
                panel.plot(*zip(*curve, strict=True), color=drawn.color, ls=drawn.dash, lw=1.1, alpha=0.8)
            if curves:
                labels.append(EndLabel(arm.name, end([curve[-1][1] for curve in curves]), drawn.color))
        if not labels:
            return None
        shape(panel)
        panel.set_xlabel("optimizer steps")
        panel.set_xlim(left=0)
        _name_arms(figure, [panel], [labels], groups)
        return settle(figure)


def trained(groups: Sequence[Arm]) -> Figure | None:
    """Draw which share of each role in each layer was trained; arms with one map share a panel."""
    maps: dict[tuple[tuple[str, int | None, float, float], ...], list[str]] = {}
    for arm in groups:
        rows = arm.runs[0].plan.get("trainable", {}).get("rows", [])
        if rows:
            key = tuple((row["role"], row["layer"], row["parameters"], row["trainable"]) for row in rows)
            maps.setdefault(key, []).append(arm.name)
    if not maps:
        return None
    deepest = max(row[1] for key in maps for row in key if row[1] is not None) if _has_layers(maps) else 0
    columns = 1 if deepest >= 16 else min(3, len(maps))
    lines, roles = math.ceil(len(maps) / columns), {row[0]: None for key in maps for row in key}
    with style():
        figure = new_figure(lines * (0.75 + 0.24 * len(roles)))
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten().tolist()
        for panel, (rows, names) in zip(panels, maps.items(), strict=False):
            _map_panel(panel, rows, list(roles), deepest, names)
        for panel in panels[len(maps) :]:
            panel.set_axis_off()
        return settle(figure)


def _success_panel(panel: Axes, suite: SuiteFacts, groups: Sequence[Arm], against: str) -> list[EndLabel]:
    labels = []
    for number, arm in enumerate(groups):
        if suite.name in arm.suites:
            end = _success_line(panel, suite.name, arm, look(number), against, band=min(0.11, 0.4 / len(groups)))
            if end is not None:
                labels.append(EndLabel(arm.name, end, look(number).color))
    panel.set_ylim(-0.03, 1.03)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    told = f": {suite.rule}" if suite.rule else ""
    panel.set_title(visible(f"{called(suite)}{told}", LONGEST + 10), fontweight="bold", pad=14)
    if suite.exposure != "unknown":
        panel.annotate(
            visible(f"rule {suite.exposure}", LONGEST), (0, 1), xytext=(0, 4), xycoords="axes fraction",
            textcoords="offset points", fontsize=8, color=FAINT,
        )  # fmt: skip
    return labels


def _success_line(panel: Axes, suite: str, arm: Arm, drawn: Look, against: str, *, band: float) -> float | None:
    if len(arm.measured) > 1:
        for run in arm.measured:
            points = [(_place(record, against), record.readings.get(f"eval_{suite}_success")) for record in run.records]
            known = [(x, y) for x, y in points if x is not None and y is not None]
            if known:
                panel.plot(*zip(*known, strict=True), color=drawn.color, lw=0.6, alpha=0.45, ls=drawn.dash)
    pooled = [point for step in _common_steps(arm, suite) if (point := _point(arm, suite, step, against)) is not None]
    if not pooled:
        return None
    x, y, low, high = zip(*pooled, strict=True)
    sparse = drawn.marker if len(x) <= 16 else ""
    panel.plot(x, y, color=drawn.color, marker=sparse, ls=drawn.dash, mec="white", mew=0.6)
    panel.fill_between(x, low, high, color=drawn.color, alpha=band, lw=0)
    return float(y[-1])


def _point(arm: Arm, suite: str, step: int, against: str) -> tuple[float, float, float, float] | None:
    made = estimate(arm, suite, step)
    places = [_place(record, against) for run in arm.measured if (record := run.record_at(step)) is not None]
    known = [place for place in places if place is not None]
    if made is None or made.value is None or not known:
        return None
    low, high = (math.nan, math.nan) if made.low is None or made.high is None else (made.low, made.high)
    return sum(known) / len(known), made.value, low, high


def _common_steps(arm: Arm, suite: str) -> list[int]:
    """Return the steps that every seed measured: a mean over fewer would jump where a seed stops."""
    name = f"eval_{suite}_success"
    each = [{record.step for record in run.records if record.readings.get(name) is not None} for run in arm.measured]
    return sorted(set.intersection(*each)) if each else []


def _frontier_panel(panel: Axes, known: SuiteFacts, other: SuiteFacts, groups: Sequence[Arm]) -> None:
    base: tuple[float, float] | None = None
    for number, arm in enumerate(groups):
        drawn = look(number)
        steps = [step for step in _common_steps(arm, known.name) if step in set(_common_steps(arm, other.name))]
        pairs = [(estimate(arm, known.name, step), estimate(arm, other.name, step)) for step in steps]
        path = [(x.value, y.value) for x, y in pairs if x and y and x.value is not None and y.value is not None]
        if not path:
            continue
        panel.plot(*zip(*path, strict=True), color=drawn.color, ls=drawn.dash, lw=1, alpha=0.7, marker=".", ms=3)
        panel.plot(
            *path[-1],
            color=drawn.color,
            marker=drawn.marker,
            ms=7,
            mec="white",
            ls="",
            label=visible(arm.name, LONGEST),
        )
        x, y = pairs[-1]
        if x and y and x.low is not None and x.high is not None and y.low is not None and y.high is not None:
            panel.plot([x.low, x.high], [path[-1][1]] * 2, color=drawn.color, lw=1)
            panel.plot([path[-1][0]] * 2, [y.low, y.high], color=drawn.color, lw=1)
        base = path[0]
    if base is not None:
        panel.plot(*base, marker="o", ms=8, mfc="none", mec=INK, ls="", zorder=5, label="base")
    panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    panel.set_xlabel(visible(f"success on {known.name}", LONGEST))
    panel.set_ylabel(visible(f"success on {other.name}", LONGEST))


def _map_panel(
    panel: Axes,
    rows: tuple[tuple[str, int | None, float, float], ...],
    roles: Sequence[str],
    deepest: int,
    names: Sequence[str],
) -> None:
    share = [[math.nan] * (deepest + 2) for _ in roles]
    for role, layer, parameters, learned in rows:
        place = 0 if layer is None else layer + 1
        share[roles.index(role)][place] = learned / parameters if parameters else math.nan
    colors = LinearSegmentedColormap.from_list("share", ["#d9dde3", "#0072B2"])
    panel.pcolormesh(share, cmap=colors, vmin=0, vmax=1, edgecolors="white", linewidth=1.2)
    panel.set_ylim(len(roles), 0)
    panel.set_yticks(
        [place + 0.5 for place in range(len(roles))], [visible(role.replace("_", " "), 24) for role in roles]
    )
    every = max(1, math.ceil((deepest + 1) / 8))
    layers = range(0, deepest + 1, every)
    panel.set_xticks([0.5, *(layer + 1.5 for layer in layers)], ["–", *map(str, layers)], fontsize=8)
    panel.set_xlabel("layer")
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.tick_params(length=0)
    total, learned = sum(row[2] for row in rows), sum(row[3] for row in rows)
    title = visible("; ".join(names), 34 if deepest < 16 else 100)
    panel.set_title(f"{title}\n{amount(learned)} of {amount(total)} ({100 * learned / total:.1f} %)", fontsize=8.5)


def _logged(run: RunData, name: str) -> list[tuple[float, float]]:
    """Return (step, value) of a metric, where it was logged and is finite."""
    points = [(line.get("step"), line.get(name)) for line in run.metrics]
    return [(x, y) for x, y in points if x is not None and y is not None and math.isfinite(y)]


def _has_layers(maps: dict[tuple[tuple[str, int | None, float, float], ...], list[str]]) -> bool:
    return any(row[1] is not None for key in maps for row in key)


def _places(groups: Sequence[Arm], against: str) -> list[float]:
    found = [_place(record, against) for arm in groups for run in arm.measured for record in run.records]
    return [place for place in found if place is not None]


def _place(record: Record, against: str) -> float | None:
    return record.step if against == "steps" else record.spent.get(against)


def _name_arms(
    figure: Figure, panels: Sequence[Axes], labels: Sequence[Sequence[EndLabel]], groups: Sequence[Arm]
) -> None:
    if len(groups) >= MANY_ARMS or max(len(arm.name) for arm in groups) > 24:
        handles = [
            panels[0].plot(
                [], [], color=look(k).color, marker=look(k).marker, ls=look(k).dash, label=visible(arm.name, LONGEST)
            )[0]
            for k, arm in enumerate(groups)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8.5)
        return
    label_ends(figure, panels, labels)
