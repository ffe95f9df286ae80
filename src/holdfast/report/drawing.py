"""How figures look, and how they become SVG inside a page and PNG beside it.

Figures are made as objects, never through pyplot, so that no global figure list exists. Text in SVG stays text: it
takes the page's font, can be selected and read aloud, and no glyph is missing.
"""

from __future__ import annotations

import io
import math
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from holdfast.report.words import power_of_ten, visible

WIDTH = 9.0  # inches: 648 units of SVG, shown at 900 pixels, so that 9-point text is 12.5 pixels high
INK, FAINT, GRID = "#1b1f24", "#6b7280", "#e5e7eb"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5b4a9e")
"""Okabe and Ito 2008 without yellow and black, and a violet: told apart with any kind of color vision."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that the layout is the same on every machine
    "font.size": 9,
    "text.parse_math": False,  # names may hold a dollar sign
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.2,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "holdfast",  # ids within the SVG are hashes; without a salt they change from run to run
}
FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


class Look(NamedTuple):
    """How one arm is drawn in every figure."""

    color: str
    marker: str
    dash: str


class EndLabel(NamedTuple):
    """Words at the right end of a line that ends at height ``y`` (in data units)."""

    words: str
    y: float
    color: str


def look(number: int) -> Look:
    """Return the look of arm ``number``; 28 arms differ."""
    place = number % len(COLORS)
    return Look(COLORS[place], MARKERS[place], DASHES[number // len(COLORS) % len(DASHES)])


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in our style; the user's settings of matplotlib neither matter nor change."""
    with warnings.catch_warnings():
        # the SVG leaves glyphs to the browser's fonts, so one that DejaVu lacks matters to the PNG only
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        # a name of absurd length is drawn badly rather than not at all
        warnings.filterwarnings("ignore", message="constrained_layout not applied", category=UserWarning)
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield


def new_figure(height: float) -> Figure:
    """Return an empty figure of the page's width and a height in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def settle(figure: Figure) -> Figure:
    """Lay a figure out once and for all; each later drawing would lay it out again, at the cost of a drawing."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def label_ends(figure: Figure, panels: Sequence[Axes], labels: Sequence[Sequence[EndLabel]]) -> None:
    """Write each label of each panel beside the end of its line, pushed apart so that none covers another."""
    figure.draw_without_rendering()  # settles the heights of the panels
    for panel, ends in zip(panels, labels, strict=False):
        _label_panel(figure, panel, ends)


def _label_panel(figure: Figure, panel: Axes, labels: Sequence[EndLabel]) -> None:
    height = panel.get_window_extent().height * 72 / figure.dpi
    gap = 11.5 / height  # of the panel's height, for 9-point text
    to_axes = panel.transData + panel.transAxes.inverted()
    wanted = sorted((float(to_axes.transform((panel.get_xlim()[1], label.y))[1]), label) for label in labels)
    for place, (_, label) in zip(spread([at for at, _ in wanted], gap), wanted, strict=True):
        panel.annotate(
            visible(label.words), (1, place), xytext=(5, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", color=label.color, fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float, *, top: float = 1.0) -> list[float]:
    """Return places at least ``gap`` apart and below ``top``, near the wanted ones (ascending).

    Example:
        >>> [round(place, 3) for place in spread([0.0, 0.5, 0.5], 0.1)]
        [0.0, 0.45, 0.55]
    """
    groups: list[tuple[float, int]] = []  # middle and number of members
    for place in wanted:
        middle, count = _within(place, 1, gap, top), 1
        while groups and middle - gap * (count - 1) / 2 - gap < groups[-1][0] + gap * (groups[-1][1] - 1) / 2:
            other, members = groups.pop()
            count, middle = count + members, (middle * count + other * members) / (count + members)
            middle = _within(middle, count, gap, top)
        groups.append((middle, count))
    return [middle + gap * (k - (count - 1) / 2) for middle, count in groups for k in range(count)]


def _within(middle: float, count: int, gap: float, top: float) -> float:
    """Keep a group of labels below the top, and above the bottom if there is room."""
    half = gap * (count - 1) / 2
    return max(min(middle, top - half), half)


def scale_x(panels: Sequence[Axes], places: Sequence[float], *, as_powers: bool) -> None:
    """Use a logarithmic axis that still shows 0, if the moments were spread like that."""
    positive = sorted({place for place in places if place > 0})
    if len(positive) < 3 or positive[-1] < 15 * positive[0]:
        if as_powers:
            for panel in panels:
                panel.xaxis.set_major_formatter(lambda value, _: power_of_ten(value))
                panel.xaxis.set_major_locator(MaxNLocator(4))
        return
    low, high = math.floor(math.log10(positive[0])), math.ceil(math.log10(positive[-1]))
    narrow = positive[-1] < 300 * positive[0]
    factors = (1, 2, 5) if narrow or (high - low <= 3 and not as_powers) else (1,)
    ticks = [f * 10.0**e for e in range(low, high + 1) for f in factors if positive[0] <= f * 10.0**e <= positive[-1]]
    for panel in panels:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=0.35)
        panel.set_xlim(-0.12 * positive[0], positive[-1] * 1.06)
        names = [
            power_of_ten(tick).removeprefix("1 × ").replace(" × ", "·") if as_powers else f"{tick:g}" for tick in ticks
        ]
        panel.set_xticks([0.0, *ticks], ["0", *names])
        panel.minorticks_off()


def log_x(panel: Axes) -> None:
    """Make a panel's horizontal axis logarithmic, with plain numbers at 1, 2 and 5, or only at powers of ten."""
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    subs = (1.0, 2.0, 5.0) if high < 60 * low else (1.0, 3.0) if high < 600 * low else (1.0,)
    panel.xaxis.set_major_locator(LogLocator(subs=subs))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e-").replace("e+0", "e"))
    panel.xaxis.set_minor_locator(NullLocator())


def to_svg(figure: Figure, *, prefix: str, title: str) -> Markup:
    """Return a figure as inline SVG: ids that clash with no other figure, no date, no style of its own."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    # our own output a line ago, not a stranger's file
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _own_id(name, value, prefix))
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", visible(title))
    # safe: every text went through ElementTree, which escapes it
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704


def to_png(figure: Figure, path: Path) -> None:
    """Write a figure at 150 dots per inch."""
    with style():
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def _own_id(name: str, value: str, prefix: str) -> str:
    local = name.rpartition("}")[2]
    if local == "id":
        return prefix + value
    if local == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if local == "style":
        return value.replace("'DejaVu Sans'", FONTS).replace("url(#", f"url(#{prefix}")
    return value.replace("url(#", f"url(#{prefix}")
