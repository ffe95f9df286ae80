"""What a search for a healer found: success regained out of distribution against success paid in distribution.

Every number here is of the *report* half of the problems, which no choice has read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Sample
from holdfast.report import words
from holdfast.report.drawing import COLORS, FAINT, INK, MARKERS, new_figure, settle, style
from holdfast.report.pairing import Both, both, compared
from holdfast.report.publishing import drawn, page_path, publish, template
from holdfast.report.tables import Table
from holdfast.statistics import Paired

ID, OOD, RETENTION = "id", "ood", "retention"
PURPOSES = (ID, OOD, RETENTION)

Answers = Mapping[str, Sequence[Sample]]
"""Graded problems of the report half, by suite."""


@dataclass(frozen=True)
class Healing:
    """One way of healing, and what the healed model answered.

    Attributes:
        name: In words.
        healer: The healer's name.
        undone, edit, artefact: See `holdfast.heal.apply.Summary`.
        answers: Of the report half.
        id_select, ood_select: Success on the select half, by which was chosen.
    """

    name: str
    healer: str
    undone: float | None
    edit: float | None
    artefact: float | None
    answers: Answers
    id_select: float
    ood_select: float


@dataclass(frozen=True)
class Found:
    """A whole search.

    Attributes:
        base_name, tuned_name: The two models.
        purposes: Suite to purpose.
        base, tuned: What the two models answered.
        tried: Every candidate.
        chosen: Its place in ``tried``; None if every one costs more than the budget.
        beside: Interpolation at the same undone share and at the same cost, by the words that say so.
        id_budget: Share of success in distribution that might be lost.
    """

    base_name: str
    tuned_name: str
    purposes: Mapping[str, str]
    base: Answers
    tuned: Answers
    tried: tuple[Healing, ...]
    chosen: int | None
    beside: Mapping[str, Healing]
    id_budget: float

    @property
    def choice(self) -> Healing | None:
        """The chosen one."""
        return None if self.chosen is None else self.tried[self.chosen]


def change(found: Found, purpose: str, before: Answers, after: Answers) -> Paired | None:
    """Return the change of success on all suites of a purpose, problem by problem; None without one."""
    pairs: list[Both] = []
    for suite, its in found.purposes.items():
        if its == purpose:
            pairs += [one._replace(key=f"{suite} {one.key}") for one in both(before[suite], after[suite])]
    return compared(pairs)


def regained(found: Found) -> Table:
    """Return every candidate with what it regains and pays against the tuned model."""
    rows = []
    for place, one in enumerate(found.tried):
        rows.append(("→" if place == found.chosen else "", *_row(found, one)))
    columns = ("", "healer", "undone", "edit", "artefact", *(f"{purpose}, points" for purpose in _purposes(found)))
    note = (
        "Change against the tuned model, in points, on the report half, with 95 % intervals. Undone: share of the "
        "update that is taken back; edit: how far the weights move, and artefact: the part of that which undoes "
        "nothing, both relative to the update. →: the choice, made on the other half."
    )
    return Table(columns, tuple(rows), "ll" + "r" * (len(columns) - 2), (note,))


def beside(found: Found) -> Table:
    """Return the choice against interpolation, and against both models, on the same problems of the report half."""
    choice = found.choice
    if choice is None:
        return Table(("", ""), (("nothing was chosen", "every candidate costs more than the budget"),), "ll")
    rows = [
        ("the tuned model", *_against(found, found.tuned, choice.answers)),
        ("the base", *_against(found, found.base, choice.answers)),
    ]
    for label, other in found.beside.items():
        rows.append((f"interpolation, {label} ({_undone(other)})", *_against(found, other.answers, choice.answers)))
    columns = (f"{choice.name} against", *(f"{purpose}, points" for purpose in _purposes(found)))
    notes = ["The choice minus the other, in points, report half; p: exact paired test."]
    if not found.beside:
        notes.append("The choice is interpolation itself: no healer that knows directions did better.")
    return Table(columns, tuple(rows), "l" + "r" * (len(columns) - 1), tuple(notes))


def figure(found: Found) -> Figure:
    """Draw success regained out of distribution against success paid in distribution, one mark a candidate."""
    with style():
        made = new_figure(4.2)
        panel = made.subplots()
        names = list(dict.fromkeys(one.healer for one in found.tried if one.healer != "interpolate"))
        line = []
        for place, one in enumerate(found.tried):
            spot = _spot(found, one)
            if one.healer == "interpolate":
                line.append(spot)
                continue
            number = names.index(one.healer)
            _mark(
                panel, spot, color=COLORS[number % len(COLORS)], marker=MARKERS[number // len(COLORS) % len(MARKERS)],
                chosen=place == found.chosen,
            )  # fmt: skip
        line = [((0.0,) * 3, (0.0,) * 3), *line, _spot_of(found, found.base)]
        panel.plot(
            [x[0] for x, _ in line], [y[0] for _, y in line], color=INK, marker=".", lw=1.2, label="interpolation"
        )
        for number, name in enumerate(names):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number // len(COLORS) % len(MARKERS)]
            panel.plot([], [], ls="", label=name, color=color, marker=marker)
        panel.axhline(0, color=FAINT, lw=0.6)
        panel.axvline(0, color=FAINT, lw=0.6)
        panel.set_xlabel("paid in distribution, points")
        panel.set_ylabel("regained out of distribution, points")
        made.legend(loc="outside right upper", fontsize=8)
        return settle(made)


def to_json(found: Found) -> dict[str, object]:
    """Return the whole search as plain values."""

    def told(one: Healing) -> dict[str, object]:
        return {
            "name": one.name,
            "healer": one.healer,
            "undone": one.undone,
            "edit": one.edit,
            "artefact": one.artefact,
            "select": {ID: one.id_select, OOD: one.ood_select},
            "against_tuned": {
                purpose: _plain(change(found, purpose, found.tuned, one.answers)) for purpose in _purposes(found)
            },
        }

    choice = found.choice
    return {
        "base": found.base_name,
        "tuned": found.tuned_name,
        "id_budget": found.id_budget,
        "purposes": dict(found.purposes),
        "tried": [told(one) for one in found.tried],
        "chosen": found.chosen,
        "beside": {label: told(one) for label, one in found.beside.items()},
        "choice_against": {}
        if choice is None
        else {
            label: {
                purpose: _plain(change(found, purpose, other.answers, choice.answers)) for purpose in _purposes(found)
            }
            for label, other in found.beside.items()
        },
    }


def write(found: Found, output: Path | str, *, title: str) -> Path:
    """Write the page with its figure, and return the page's path.

    Raises:
        RunFolderError: nothing can be written.
    """
    caption = (
        "Each mark is one candidate on the report half: to the left it costs success in distribution, above it regains "
        "success out of distribution, both against the tuned model, with 95 % intervals. The line is interpolation, "
        "from the tuned model (at the cross) to the base. The choice has a ring."
    )
    one = drawn("regained", figure(found), caption)
    text = template("heal.html.j2").render(
        title=title,
        subtitle=f"{found.tuned_name}, healed towards {found.base_name} · budget in distribution "
        f"{100 * found.id_budget:g} points",
        figure=one,
        beside=beside(found),
        regained=regained(found),
    )
    return publish(page_path(output), text, {one.name: one.figure})


def _purposes(found: Found) -> list[str]:
    return [purpose for purpose in PURPOSES if purpose in found.purposes.values()]


def _row(found: Found, one: Healing) -> tuple[str, ...]:
    shares = (
        words.percent(one.undone),
        *(words.UNKNOWN if x is None else f"{x:.3g}" for x in (one.edit, one.artefact)),
    )
    changes = (_cell(change(found, purpose, found.tuned, one.answers)) for purpose in _purposes(found))
    return (one.name, *shares, *changes)


def _against(found: Found, before: Answers, after: Answers) -> tuple[str, ...]:
    return tuple(_tested(change(found, purpose, before, after)) for purpose in _purposes(found))


def _cell(told: Paired | None) -> str:
    return words.UNKNOWN if told is None else f"{words.points(told.difference)} {_interval(told)}"


def _tested(told: Paired | None) -> str:
    return words.UNKNOWN if told is None else f"{_cell(told)}, p {words.p_value(told.p_value)}"


def _interval(told: Paired) -> str:
    return words.signed_interval(told.low, told.high)


def _undone(one: Healing) -> str:
    return f"{words.percent(one.undone)} undone"


Ends = tuple[float, float, float]
"""A value with the ends of its interval, in points."""


def _spot(found: Found, one: Healing) -> tuple[Ends, Ends]:
    return _spot_of(found, one.answers)


def _spot_of(found: Found, answers: Answers) -> tuple[Ends, Ends]:
    gain, cost = (change(found, purpose, found.tuned, answers) for purpose in (OOD, ID))
    x = (0.0, 0.0, 0.0) if cost is None or cost.difference is None else _ends(-1.0, cost)
    y = (0.0, 0.0, 0.0) if gain is None or gain.difference is None else _ends(1.0, gain)
    return x, y


def _ends(sign: float, told: Paired) -> Ends:
    value = told.difference or 0.0
    low, high = (value if end is None else end for end in (told.low, told.high))
    return 100 * sign * value, 100 * sign * low, 100 * sign * high


def _mark(panel: Axes, spot: tuple[Ends, Ends], *, color: str, marker: str, chosen: bool) -> None:
    (x, *x_ends), (y, *y_ends) = spot
    panel.plot(x_ends, [y, y], color=color, lw=0.6, alpha=0.4)
    panel.plot([x, x], y_ends, color=color, lw=0.6, alpha=0.4)
    panel.plot([x], [y], color=color, marker=marker, ms=5.5, mec="white", ls="")
    if chosen:
        panel.plot([x], [y], marker="o", ms=13, mfc="none", mec=INK, mew=1.2, ls="")


def _plain(told: Paired | None) -> dict[str, object] | None:
    if told is None:
        return None
    return {
        "difference": told.difference,
        "low": told.low,
        "high": told.high,
        "p": told.p_value,
        "n": told.n,
        "clusters": told.clusters,
    }
