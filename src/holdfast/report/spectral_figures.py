"""The figures of a spectral diagnosis: maps of blocks by kinds of matrices, bands, a trajectory, hidden states."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from holdfast.records import Estimate
from holdfast.report.drawing import COLORS, FAINT, INK, Look, look, new_figure, settle, style
from holdfast.report.spectral_profile import (
    Checkpoint,
    Diagnosis,
    Quantity,
    inside,
    middle,
    relative,
    rotation,
    stable_rank,
    value_shift,
)
from holdfast.report.spectral_readings import Band, Bands
from holdfast.report.words import visible

MAPS: tuple[tuple[str, Quantity], ...] = (
    ("update, ‖D‖ / ‖W‖", relative),
    ("first k left directions, × chance", rotation("top", "left")),
    ("first k right directions, × chance", rotation("top", "right")),
    ("singular values, ‖Δs‖ / ‖s‖", value_shift),
    ("update inside both first k, × chance", inside),
    ("stable rank of the update", stable_rank),
)
SHADES = LinearSegmentedColormap.from_list("drift", ["#f6f8fa", "#9ecae1", "#0072B2", "#08306b"])
NUMBERS_UP_TO = 60
"""Cells of a map in which numbers have room."""
BAND_PANELS: tuple[tuple[str, Callable[[Band], float | None]], ...] = (
    ("left directions turned, × chance", lambda band: band.left),
    ("right directions turned, × chance", lambda band: band.right),
    ("‖uᵀD‖² by left direction, × chance", lambda band: band.rows / band.chance_rows),
    ("‖Dv‖² by right direction, × chance", lambda band: band.columns / band.chance_columns),
    ("(uᵀDv)² on the diagonal, × chance", lambda band: band.diagonal / band.chance_diagonal),
)


def maps(checkpoint: Checkpoint) -> Figure | None:
    """Draw six quantities by block and kind of matrix; None where nothing moved."""
    kinds = kinds_of(checkpoint)
    layers = sorted({one.layer for one in checkpoint.inner if one.layer is not None})
    if not kinds or not checkpoint.moved:
        return None
    with style():
        figure = new_figure(2 * max(2.6, 1.0 + 0.16 * max(len(layers), 10)))
        panels = figure.subplots(2, 3, squeeze=False).flatten().tolist()
        for panel, (title, quantity) in zip(panels, MAPS, strict=False):
            cells = np.full((len(layers), len(kinds)), np.nan)
            for column, (_, names) in enumerate(kinds):
                for line, layer in enumerate(layers):
                    mine = [one for one in checkpoint.inner if one.layer == layer and one.name in names]
                    value = middle(mine, quantity)
                    cells[line, column] = np.nan if value is None else value
            _map(figure, panel, cells, layers, [label for label, _ in kinds], title)
        return settle(figure)


def kinds_of(checkpoint: Checkpoint) -> list[tuple[str, frozenset[str]]]:
    """Return the kinds of matrices in blocks, each with the names of its own, in the order of the files.

    A kind is what stays of a name without its numbers: ``q_proj``, or ``attn.c_proj`` where the last word is not
    enough. The experts of a block are one kind.
    """
    found: dict[tuple[str, str, str], set[str]] = {}
    for one in checkpoint.inner:
        bare = re.sub(r"\[\d+\]$", "", one.name).removesuffix(".weight")
        parts = [part for part in bare.split(".") if not part.isdigit()]
        parent = parts[-2] if len(parts) > 1 else ""
        found.setdefault((str(one.role), parent, parts[-1]), set()).add(one.name)
    leaves = [leaf for _, _, leaf in found]
    ordered = sorted(found, key=lambda key: key[0])
    return [
        (leaf if leaves.count(leaf) == 1 else f"{parent}.{leaf}", frozenset(found[role, parent, leaf]))
        for role, parent, leaf in ordered
    ]


def bands(checkpoint: Checkpoint) -> Figure | None:
    """Draw five quantities by band of singular indices, by role, beside a random update; None if not measured."""
    measured = [(str(one.role), one.bands) for one in checkpoint.moved if one.bands is not None]
    if not measured:
        return None
    roles = list(dict.fromkeys(role for role, _ in measured))
    with style():
        figure = new_figure(5.2)
        panels = figure.subplots(2, 3, squeeze=False).flatten().tolist()
        for panel, (title, quantity) in zip(panels, BAND_PANELS, strict=False):
            _null(panel, [own for _, own in measured], quantity)
            for number, role in enumerate(roles):
                own = [one.measured for each, one in measured if each == role]
                panel.plot(*_middle_line(own, quantity), color=COLORS[number], marker="o", label=role)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_locator(NullLocator())
            panel.set_title(title)
            panel.set_xticks([1, 4, 7, 10])
            panel.set_xlabel("tenth of the spectrum, largest first")
        panels[-1].set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        panels[-1].legend(handles, labels, loc="center left", fontsize=9)
        return settle(figure)


def trajectory(diagnosis: Diagnosis) -> Figure | None:
    """Draw the drift of a run's checkpoints over its steps, with success beside; None of fewer than two."""
    steps = [one for one in diagnosis.checkpoints if one.step is not None]
    if len(steps) < 2:
        return None
    with style():
        figure = new_figure(3.0)
        left, middle_, right = figure.subplots(1, 3)
        _lines(left, steps, (("‖D‖ / ‖W‖", relative), ("‖Δs‖ / ‖s‖", value_shift)))
        left.set_title("update and singular values")
        _lines(
            middle_, steps,
            (
                ("first k, left", rotation("top", "left")),
                ("first k, right", rotation("top", "right")),
                ("last k, left", rotation("bottom", "left")),
                ("last k, right", rotation("bottom", "right")),
            ),
        )  # fmt: skip
        middle_.set_title("rotation, × chance")
        _success(right, diagnosis)
        for panel in (left, middle_, right):
            panel.set_xlabel("optimizer steps")
        return settle(figure)


def hidden(diagnosis: Diagnosis) -> Figure | None:
    """Draw the likeness of hidden states by block; None if no prompts were asked."""
    mine = [one for one in diagnosis.hidden if one.checkpoint == diagnosis.last.name]
    if not mine:
        return None
    with style():
        figure = new_figure(2.9)
        left, right = figure.subplots(1, 2)
        for number, suite in enumerate(dict.fromkeys(one.suite for one in mine)):
            own = [one for one in mine if one.suite == suite]
            drawn = look(number)
            layers = [one.layer for one in own]
            _with_band(left, layers, [one.cosine for one in own], drawn, label=visible(suite, 20))
            known = [math.nan if one.cka is None else one.cka for one in own]
            right.plot(layers, known, color=drawn.color, marker=drawn.marker)
        left.set_title("cosine")
        right.set_title("linear CKA, debiased")
        for panel in (left, right):
            panel.set_xlabel("after block (0: embedding)")
            panel.set_ylim(top=1.005)
        figure.legend(loc="outside upper left", ncols=5, fontsize=8.5)
        return settle(figure)


def _map(
    figure: Figure, panel: Axes, cells: np.ndarray, layers: Sequence[int], labels: Sequence[str], title: str
) -> None:
    top = float(np.nanmax(cells)) if np.isfinite(cells).any() else 1.0
    shown = panel.imshow(cells, aspect="auto", cmap=SHADES, vmin=0, vmax=top or 1.0)
    panel.set_title(title)
    panel.grid(visible=False)
    panel.set_xticks(range(len(labels)), [visible(label, 20) for label in labels], rotation=45, ha="right", fontsize=8)
    every = max(1, len(layers) // 12)
    panel.set_yticks(range(0, len(layers), every), [str(layer) for layer in layers[::every]])
    panel.set_ylabel("block")
    bar = figure.colorbar(shown, ax=panel, shrink=0.9)
    bar.outline.set_visible(False)
    if cells.size <= NUMBERS_UP_TO:
        for (line, column), value in np.ndenumerate(cells):
            if np.isfinite(value):
                ink = "white" if value > 0.55 * top else INK
                panel.text(column, line, _short(value), ha="center", va="center", fontsize=6.5, color=ink)


def _short(value: float) -> str:
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 1e-3 else f"{value:.0e}" if value else "0"


def _null(panel: Axes, measured: Sequence[Bands], quantity: Callable[[Band], float | None]) -> None:
    spread = _spread([one.null for one in measured], quantity)
    places = range(1, len(spread) + 1)
    panel.fill_between(
        places, [low for low, _, _ in spread], [high for _, _, high in spread], color=FAINT, alpha=0.2, lw=0
    )
    panel.plot(places, [mid for _, mid, _ in spread], color=FAINT, ls="--", label="random update of the same norm")


def _middle_line(
    own: Sequence[Sequence[Band]], quantity: Callable[[Band], float | None]
) -> tuple[Sequence[int], list[float]]:
    spread = _spread(own, quantity)
    return range(1, len(spread) + 1), [mid for _, mid, _ in spread]


def _spread(
    own: Sequence[Sequence[Band]], quantity: Callable[[Band], float | None]
) -> list[tuple[float, float, float]]:
    """Return the middle half and the median over matrices of each band."""
    found = []
    for place in range(max(len(one) for one in own)):
        told = [value for one in own if len(one) > place and (value := quantity(one[place])) is not None]
        quarters = np.quantile(told, [0.25, 0.5, 0.75]) if told else (math.nan,) * 3
        found.append((float(quarters[0]), float(quarters[1]), float(quarters[2])))
    return found


def _lines(panel: Axes, steps: Sequence[Checkpoint], wanted: Sequence[tuple[str, Quantity]]) -> None:
    for number, (label, quantity) in enumerate(wanted):
        drawn = look(number)
        points = [(0, 0.0), *((one.step or 0, middle(one.moved, quantity) or 0.0) for one in steps)]
        panel.plot(*zip(*points, strict=True), color=drawn.color, marker=drawn.marker, label=label)
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=8)


def _success(panel: Axes, diagnosis: Diagnosis) -> None:
    panel.set_title("success")
    panel.set_ylim(0, 1.02)
    suites = list(dict.fromkeys((one.suite, one.purpose) for one in diagnosis.success))
    if not suites:
        panel.text(0.5, 0.5, "no run beside", ha="center", color=FAINT, transform=panel.transAxes)
        return
    for number, (suite, purpose) in enumerate(suites):
        own = [one for one in diagnosis.success if one.suite == suite and one.estimate.value is not None]
        drawn = look(number)
        name = f"{visible(suite, 16)} ({purpose})"
        dash = "-" if purpose == "id" else "--"
        _with_band(panel, [one.step for one in own], [one.estimate for one in own], drawn, label=name, dash=dash)
    panel.legend(fontsize=7.5, loc="best")


def _with_band(
    panel: Axes, places: Sequence[int], told: Sequence[Estimate], drawn: Look, *, label: str, dash: str = "-"
) -> None:
    """Draw estimates with their intervals; a gap where one is unknown."""

    def filled(values: Iterable[float | None]) -> list[float]:
        return [math.nan if value is None else value for value in values]

    values = filled(one.value for one in told)
    panel.plot(places, values, color=drawn.color, marker=drawn.marker, ls=dash, label=label)
    low, high = filled(one.low for one in told), filled(one.high for one in told)
    panel.fill_between(places, low, high, color=drawn.color, alpha=0.15, lw=0)
