"""What the words of one prompt do together, under a model and perhaps under its base: a table, a figure, a page.

Shapes: ``K`` orders from 1 to n.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import finite
from holdfast.report import words
from holdfast.report.drawing import COLORS, FAINT, INK, look, new_figure, settle, style
from holdfast.report.publishing import drawn, page_path, publish, template
from holdfast.report.tables import Table

SHOWN = 12
"""Interactions in the table and in the figure."""
LONGEST = 44
"""Characters of the words of an interaction in the figure."""


@dataclass(frozen=True)
class Interaction:
    """One interaction of words.

    Attributes:
        kind: ``AND``: it counts once all words are there. ``OR``: once any is.
        words: In the prompt's order.
        strengths: In log-odds of the target, under each model.
        change: ``preserved``, ``emerged``, ``removed``, or ``turned`` if it counts under both with other signs; empty
            if under none. Of one model all that count are preserved.
    """

    kind: str
    words: tuple[str, ...]
    strengths: tuple[float, ...]
    change: str

    @property
    def name(self) -> str:
        """Its words, with what joins them."""
        return f" {'∧' if self.kind == 'AND' else '∨'} ".join(self.words)


@dataclass(frozen=True)
class Side:
    """One model.

    Attributes:
        name: As it was asked for.
        nothing, everything: Log-odds of the target without any of the players, and with all.
        strength: Σ |I|.
        positive, negative: Strength of each order, (K,).
        high_order: Share of strength in orders above two thirds of the players.
        evidence: |everything − nothing| / strength.
        counting: Interactions that count.
        masks: 2^n, the outputs that they explain.
        fit: R² of those that count, alone, over all masks.
        noise: Standard deviation of an output that is not the model's doing.
        gap: Relative optimality gap of the split.
        residual: What the split leaves unexplained at most.
    """

    name: str
    nothing: float
    everything: float
    strength: float
    positive: tuple[float, ...]
    negative: tuple[float, ...]
    high_order: float
    evidence: float
    counting: int
    masks: int
    fit: float
    noise: float
    gap: float
    residual: float


@dataclass(frozen=True)
class OnePrompt:
    """All that is shown.

    Attributes:
        prompt: The user's text.
        players: Words that play, in order.
        target: The word that is watched.
        given: What of the answer precedes it.
        base_probability: Of the target, under the base.
        blank: What stands in the place of a masked word.
        interactions: Strongest first.
        sides: The base first if there is one, the model last.
        threshold: Least strength that counts.
        compared: Whether there are two sides.
        strength: Σ |I| of the model.
    """

    prompt: str
    players: tuple[str, ...]
    target: str
    given: str
    base_probability: float
    blank: str
    interactions: tuple[Interaction, ...]
    sides: tuple[Side, ...]
    threshold: float
    compared: bool
    strength: float


def strongest(found: OnePrompt) -> Table:
    """Return the strongest interactions."""
    rows = [
        (one.kind, str(len(one.words)), one.name, *map(_signed, one.strengths), one.change or "does not count")
        for one in found.interactions[:SHOWN]
    ]
    names = [side.name for side in found.sides]
    note = (
        f"In log-odds of {found.target!r}. An AND counts once all of its words are there, an OR once any is; what is "
        f"below {found.threshold:.2g} does not count."
    )
    if not found.compared:
        return Table(("kind", "order", "words", names[0]), tuple(row[:-1] for row in rows), "lrlr", (note,))
    return Table(("kind", "order", "words", *names, ""), tuple(rows), "lrlrrl", (note,))


def summary(found: OnePrompt) -> Table:
    """Return what each model's interactions amount to."""
    rows = [
        (
            side.name,
            _signed(side.nothing),
            _signed(side.everything),
            f"{side.strength:.3g}",
            f"{side.counting} of {side.masks}",
            f"{side.fit:.3f}",
            words.percent(finite(side.evidence)),
            words.percent(finite(side.high_order)),
            f"{side.noise:.1e}",
            f"{side.gap:.0e}",
        )
        for side in found.sides
    ]
    columns = (
        "model", "no words", "all words", "strength", "count", "fit", "evidence", "high order", "noise", "gap",
    )  # fmt: skip
    notes = (
        "Strength: Σ |I|. Count: interactions that count, against outputs to be explained. Fit: R² of those alone (of "
        "all together it is 1 by construction). Evidence: |all words − no words| / strength. Gap: how far from the "
        "sparsest split at most.",
    )
    return Table(columns, tuple(rows), "lrrrrrrrrr", notes)


def by_order(found: OnePrompt) -> Table:
    """Return the strength of each order, what adds and what takes off."""
    rows = []
    for number in range(len(found.players)):
        cells = [cell for side in found.sides for cell in (side.positive[number], side.negative[number])]
        rows.append((str(number + 1), *(f"{cell:+.3f}".replace("-", "−") for cell in cells)))
    columns = ("order", *(f"{side.name} {sign}" for side in found.sides for sign in "+−"))
    return Table(columns, tuple(rows), "r" + "r" * (len(columns) - 1))


def figure(found: OnePrompt) -> Figure:
    """Draw the strongest interactions, and strength by order."""
    shown = found.interactions[:SHOWN]
    with style():
        made = new_figure(1.2 + 0.3 * max(6, len(shown)))
        left, right = made.subplots(1, 2, width_ratios=(3, 2))
        _bars(left, found, shown)
        _orders(right, found)
        if found.compared:
            handles, labels = right.get_legend_handles_labels()
            made.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=8.5)
        return settle(made)


def to_json(found: OnePrompt) -> dict[str, Any]:
    """Return plain values; numbers that are not finite become None."""
    plain = dataclasses.asdict(found)
    return {name: _plain(value) for name, value in plain.items()}


def write(found: OnePrompt, output: Path | str) -> Path:
    """Write the page with its figure, and return the page's path.

    Raises:
        RunFolderError: nothing can be written.
    """
    caption = (
        f"Left: the strongest interactions, in log-odds of {found.target!r}. Right: strength by the number of words "
        "that an interaction takes; above 0 what speaks for the target, below what speaks against it."
    )
    one = drawn("interactions", figure(found), caption)
    text = template("interactions.html.j2").render(
        title="Interactions of one prompt",
        subtitle=words.listed([side.name for side in found.sides]),
        found=found,
        figure=one,
        strongest=strongest(found),
        summary=summary(found),
        by_order=by_order(found),
    )
    return publish(page_path(output), text, {one.name: one.figure})


def _bars(panel: Axes, found: OnePrompt, shown: tuple[Interaction, ...]) -> None:
    count = len(found.sides)
    for number, side in enumerate(found.sides):
        places = np.arange(len(shown)) + (number - (count - 1) / 2) * 0.8 / count
        panel.barh(
            places, [one.strengths[number] for one in shown], 0.8 / count, color=_color(found, number), label=side.name
        )
    panel.axvline(0, color=FAINT, linewidth=0.8)
    panel.set_yticks(np.arange(len(shown)), [words.visible(one.name, LONGEST) for one in shown])
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", labelsize=8)
    panel.set_xlabel(f"log-odds of {words.visible(found.target, 20)!r}")


def _orders(panel: Axes, found: OnePrompt) -> None:
    count = len(found.sides)
    for number, side in enumerate(found.sides):
        places = np.arange(1, len(side.positive) + 1) + (number - (count - 1) / 2) * 0.8 / count
        panel.bar(places, side.positive, 0.8 / count, color=_color(found, number), label=words.visible(side.name, 40))
        panel.bar(places, side.negative, 0.8 / count, color=_color(found, number), alpha=0.55)
    panel.axhline(0, color=INK, linewidth=0.6)
    panel.set_xticks(range(1, len(found.players) + 1))
    panel.grid(visible=False, axis="x")
    panel.set_xlabel("order")
    panel.set_ylabel("strength")


def _color(found: OnePrompt, number: int) -> str:
    """The model's own color is the same whether or not a base stands beside it."""
    return look(0).color if number == len(found.sides) - 1 else COLORS[4]


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
