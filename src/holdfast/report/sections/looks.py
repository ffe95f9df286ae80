"""Which color and dash an arm has in all figures of its section: one axis of the study a color, the rest a dash.

Learning rates take colors from dark to light; anything else takes colors that are told apart with any color vision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from holdfast.report.compare import Arm
from holdfast.report.drawing import COLORS, DASHES, INK, MARKERS, Look
from holdfast.report.words import visible

RATE = "learning_rate"
LONGEST = 40


@dataclass(frozen=True)
class Looks:
    """The looks of a section's arms, and their legend.

    Attributes:
        arms: Name of an arm to its look.
        legend: Words and looks, colors first.
    """

    arms: Mapping[str, Look]
    legend: Sequence[tuple[str, Look]]

    def explain(self, figure: Figure) -> None:
        """Write the legend above the panels."""
        handles = [
            Line2D(
                [], [], color=look.color, marker=look.marker, ls=look.dash, mec="white", label=visible(name, LONGEST)
            )
            for name, look in self.legend
        ]
        figure.legend(
            handles=handles, loc="outside upper left", ncols=len(handles) if len(handles) <= 6 else 4, fontsize=8.5
        )


def looks(arms: Sequence[Arm]) -> Looks:
    """Return the looks of arms."""
    labels = [dict(arm.runs[0].axes) for arm in arms]
    axes = [axis for axis in dict.fromkeys(axis for own in labels for axis in own) if _varies(axis, labels)]
    if len(axes) < 2 or any(axis not in own for own in labels for axis in axes):
        plain = _colors([arm.name for arm in arms], rates=axes == [RATE])
        single = {name: Look(color, MARKERS[k % len(MARKERS)], "-") for k, (name, color) in enumerate(plain.items())}
        return Looks(single, list(single.items()))
    points = {axis: list(dict.fromkeys(own[axis] for own in labels)) for axis in axes}
    colored = max(axes, key=lambda axis: (len(points[axis]), axis != RATE, axes.index(axis)))
    dashes = list(dict.fromkeys(_others(own, colored, axes) for own in labels))
    colors = _colors(points[colored], rates=colored == RATE)
    made: dict[str, Look] = {}
    for arm, own in zip(arms, labels, strict=True):
        place = dashes.index(_others(own, colored, axes))
        made[arm.name] = Look(colors[own[colored]], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])
    legend = [(f"{_axis(colored)} {point}", Look(color, "", "-")) for point, color in colors.items()]
    legend += [(name, Look(INK, MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)])) for k, name in enumerate(dashes)]
    return Looks(made, legend)


def percent_axis(panel: Axes) -> None:
    """Let a panel's height run from 0 to 100 %."""
    panel.set_ylim(-0.03, 1.03)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def _varies(axis: str, labels: Sequence[Mapping[str, str]]) -> bool:
    return len({own.get(axis) for own in labels}) > 1


def _others(own: Mapping[str, str], colored: str, axes: Sequence[str]) -> str:
    return ", ".join(f"{_axis(axis)} {own[axis]}".strip() for axis in axes if axis != colored)


def _axis(axis: str) -> str:
    """Return the name of an axis where its points do not speak for themselves."""
    return "rate" if axis == RATE else "by" if axis == "matching" else ""


def _colors(points: Sequence[str], *, rates: bool) -> dict[str, str]:
    if not rates:
        return {point: COLORS[k % len(COLORS)] for k, point in enumerate(points)}
    order = sorted(points, key=_number)
    shades = colormaps["viridis"]
    return {point: to_hex(shades(0.85 - 0.85 * order.index(point) / max(1, len(order) - 1))) for point in points}


def _number(point: str) -> float:
    try:
        return float(point)
    except ValueError:
        return 0.0
