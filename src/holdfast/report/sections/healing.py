"""What healing gives back without training, beside interpolation, early stopping and reinforcement.

A study of this kind has arms with a ``heal`` block and no steps, which start from another arm's checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Contrast, Term, end, level, measure
from holdfast.report.drawing import COLORS, FAINT, INK, MARKERS, new_figure, settle, style
from holdfast.report.going_on import REINFORCED
from holdfast.report.groups import Section, method_of
from holdfast.report.healed import ARTEFACT, Group, Point, groups, heal_of, reading, undone
from holdfast.report.honest_peak import honest_peak
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Drawing, Part, id_suite, ood_suite, seeds_told, shown, signed_cell
from holdfast.report.tables import Table

PANELS = 2
"""Groups that are drawn, side by side."""


def part(section: Section) -> Part | None:
    """Tabulate and draw every group of healed arms; None if no arm heals without training."""
    found, asked, known = groups(section), ood_suite(section), id_suite(section)
    if not found or asked is None or known is None:
        return None
    tables = [table(section, group, asked) for group in found]
    costs = cost_table(section, found, asked, known)
    peak = _peak_table(found, asked)
    return Part(
        "What healing gives back",
        drawings=[
            Drawing(
                "healing",
                partial(_figure, _with_a_line(found), asked, known),
                f"Success on {called(known)} and {called(asked)}: the line is interpolation, from the checkpoint "
                f"(cross) to what it is healed towards (square). {seeds_told(section)}",
            )
        ],
        tables=[*([peak] if peak else []), *tables, *([costs] if costs else [])],
    )


def table(section: Section, group: Group, asked: SuiteFacts) -> Table:
    """Return what each healer of a group changes, and how it stands against interpolation."""
    suites = [suite for suite in shown(section) if end(group.arms[0], suite.name)] if group.arms else []
    id_suites = [suite for suite in suites if suite.purpose == "id"]
    rows = []
    for arm in group.arms:
        rows.append(
            (
                _bare(arm),
                words.percent(undone(arm)),
                _number(reading(arm, ARTEFACT)),
                *(signed_cell(_value(group.against_tuned(arm, suite.name))) for suite in suites),
                signed_cell(_value(group.same_undone(arm, asked.name))),
                signed_cell(_value(group.same_id(arm, asked.name, id_suites))),
            )
        )
    for point in group.line:
        if point.undone not in (0.0, 1.0):
            changes = ([point.term(suite.name, 1.0), group.tuned.term(suite.name, -1.0)] for suite in suites)
            told = (signed_cell(_value(terms)) for terms in changes)
            rows.append(("interpolation", words.percent(point.undone), "0", *told, "", ""))
    columns = (
        "healer", "undone", "artefact", *(called(suite) for suite in suites),
        f"{asked.name} − interpolation, as much undone", f"{asked.name} − interpolation, at equal id",
    )  # fmt: skip
    moved = _moved(group.tuned)
    note = (
        f"From {group.start}, towards {group.toward}. Change since the checkpoint, in points, on the same problems. "
        f"Undone: share of the update between the two that is taken back; artefact: the part of the edit that undoes "
        "nothing, relative to the update. Interpolation is read between its measured strengths; at equal id: where it "
        f"has the same mean success over {words.listed([suite.name for suite in id_suites])}."
        + (f" The checkpoint lies {moved} of the base's norm from the base." if moved else "")
    )
    return Table(columns, tuple(rows), "l" + "r" * (len(columns) - 1), (note,))


def cost_table(section: Section, found: Sequence[Group], asked: SuiteFacts, known: SuiteFacts) -> Table | None:
    """Return what every way back costs and gives: an earlier checkpoint, interpolation, each healer, reinforcement."""
    group = found[0]
    rows: list[tuple[str, ...]] = []
    ends = [one.line[-1] for one in found if one.start == group.start and one.line[-1].undone == 1.0]
    for point in ends:
        if point.step:
            told = [
                (suite, [point.term(suite.name, 1.0), group.tuned.term(suite.name, -1.0)]) for suite in (asked, known)
            ]
            rows.append((f"stop at step {point.step}", *_changes(told), "0", "0 s", "problems to choose the step by"))
    for one in found:
        if one.start == group.start:
            rows += _healed_rows(one, asked, known)
    for arm in section.arms:
        if arm.measured and method_of(arm.runs[0]) in REINFORCED and _starts_at(arm, group.tuned):
            told = [(suite, group.against_tuned(arm, suite.name)) for suite in (asked, known)]
            answers = _spent(arm, "examples")
            rows.append((arm.name, *_changes(told), *_price(arm), f"{words.amount(answers)} rewarded answers"))
    if not rows:
        return None
    columns = ("way back", f"{asked.name} regained", f"{known.name} (− is paid)", "FLOPs", "time", "data")
    note = (
        f"From {group.start}, in points since there. FLOPs and seconds are what the way back costs beyond the "
        "checkpoint (healing: products and factors of the base where they were not cached; interpolation has no "
        "products). Choosing a strength or a step takes problems to choose by, and evaluations, which are not counted."
    )
    return Table(columns, tuple(rows), "l" + "r" * 4 + "l", (note,))


def _healed_rows(group: Group, asked: SuiteFacts, known: SuiteFacts) -> list[tuple[str, ...]]:
    best = max(
        (point for point in group.line if point.undone not in (0.0, 1.0)),
        key=lambda point: _plain(measure([point.term(asked.name, 1.0)])) or -1.0,
        default=None,
    )
    rows = []
    if best is not None:
        told = [(suite, [best.term(suite.name, 1.0), group.tuned.term(suite.name, -1.0)]) for suite in (asked, known)]
        name = f"interpolation to {group.toward}, best of its strengths in hindsight ({words.percent(best.undone)})"
        rows.append((name, *_changes(told), *_price(best.arm), "none"))
    for arm in group.arms:
        told = [(suite, group.against_tuned(arm, suite.name)) for suite in (asked, known)]
        rows.append((arm.name, *_changes(told), *_price(arm), "none"))
    return rows


def _peak_table(found: Sequence[Group], asked: SuiteFacts) -> Table | None:
    arm = found[0].tuned.arm
    told = honest_peak(arm, asked.name)
    if told is None:
        return None
    last = level(arm, asked.name, end(arm, asked.name))
    row = (
        f"{told.step}",
        _flat(told.naive),
        _flat(told.honest),
        "–" if last is None else f"{words.percent(last.value)} {words.interval(last.low, last.high)}",
        _points(told.forgotten),
    )
    note = (
        f"Of {arm.name}, on {called(asked)}. The largest of several noisy rates is too high; the honest peak chooses "
        "the step on one half of the problems and reads the other half, both ways round, and so does what is forgotten."
    )
    columns = ("best step", "peak as it is mostly told", "honest peak", "end", "forgotten, points")
    return Table(columns, (row,), "rrrrr", (note,))


def _with_a_line(found: Sequence[Group]) -> list[Group]:
    """Return the groups that are worth a panel: those with the most points of interpolation, two at most."""
    return sorted(found, key=lambda group: -len(group.line))[:PANELS]


def _figure(found: Sequence[Group], asked: SuiteFacts, known: SuiteFacts) -> Figure:
    with style():
        made = new_figure(4.4)
        panels = made.subplots(1, max(1, len(found)), squeeze=False, sharey=True)[0]
        names = list(dict.fromkeys(_bare(arm) for group in found for arm in group.arms))
        for panel, group in zip(panels, found, strict=False):
            places = [_place(point, asked, known) for point in group.line]
            line = [place for place in places if place is not None]
            panel.plot([x for x, _ in line], [y for _, y in line], color=INK, marker=".", lw=1.2)
            for place, marker in ((places[0], "x"), (places[-1], "s")):
                if place is not None:
                    panel.plot([place[0]], [place[1]], color=INK, marker=marker, ms=7, ls="")
            for arm in group.arms:
                _draw(panel, arm, asked, known, names.index(_bare(arm)))
            panel.set_title(words.visible(f"{group.start} → {group.toward}", 48))
            panel.set_xlabel(f"success on {called(known)}, %")
        panels[0].set_ylabel(f"success on {called(asked)}, %")
        for number, name in enumerate(names):
            panels[0].plot([], [], ls="", color=_color(number), marker=_marker(number), label=name)
        made.legend(loc="outside lower center", ncols=4, fontsize=7)
        return settle(made)


def _draw(panel: Axes, arm: Arm, asked: SuiteFacts, known: SuiteFacts, number: int) -> None:
    x, y = (level(arm, suite.name, end(arm, suite.name)) for suite in (known, asked))
    if x is None or y is None or x.value is None or y.value is None:
        return
    if y.low is not None and y.high is not None:
        panel.plot([100 * x.value] * 2, [100 * y.low, 100 * y.high], color=FAINT, lw=0.5, alpha=0.5)
    panel.plot(
        [100 * x.value], [100 * y.value], color=_color(number), marker=_marker(number), ms=5.5, mec="white", ls=""
    )


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _marker(number: int) -> str:
    return MARKERS[number // len(COLORS) % len(MARKERS)]


def _place(point: Point, asked: SuiteFacts, known: SuiteFacts) -> tuple[float, float] | None:
    x, y = (_plain(measure([point.term(suite.name, 1.0)])) for suite in (known, asked))
    return None if x is None or y is None else (100 * x, 100 * y)


def _value(terms: Sequence[Term]) -> Estimate | None:
    told = measure(terms) if all(term.moments for term in terms) else None
    return None if told is None else told.estimate


def _plain(told: Contrast | None) -> float | None:
    return None if told is None else told.estimate.value


def _bare(arm: Arm) -> str:
    """Return an arm's name without what the group says already: a trailing ``, to base``."""
    head, comma, tail = arm.name.rpartition(", to ")
    return head if comma and tail in ("base", "peak") else arm.name


def _changes(told: Sequence[tuple[SuiteFacts, Sequence[Term]]]) -> tuple[str, ...]:
    return tuple(signed_cell(_value(terms)) for _, terms in told)


def _price(arm: Arm) -> tuple[str, str]:
    healed = heal_of(arm.runs[0]) is not None
    key = "heal_seconds" if healed else "train_seconds"
    seconds = [run.result.get(key) for run in arm.measured]
    known = [value for value in seconds if value is not None]
    flops = _spent(arm, "flops")
    told = "0" if not flops else words.power_of_ten(flops)
    return told, words.seconds(sum(known) / len(known) if known else None)


def _spent(arm: Arm, field: str) -> float | None:
    found = [run.records[-1].spent.get(field) for run in arm.measured]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _starts_at(arm: Arm, tuned: Point) -> bool:
    start = arm.runs[0].start
    return start is not None and start.step == tuned.step and start.arm in (tuned.arm.name, tuned.arm.runs[0].name)


def _moved(point: Point) -> str | None:
    if point.step is None:
        return None
    found = [record.readings.get("update_norm") for run in point.arm.measured if (record := run.record_at(point.step))]
    known = [value for value in found if value is not None]
    return f"{sum(known) / len(known):.2g}" if known else None


def _number(value: float | None) -> str:
    return words.UNKNOWN if value is None else f"{value:.2f}"


def _flat(told: Estimate) -> str:
    return f"{words.percent(told.value)} {words.interval(told.low, told.high)}"


def _points(told: Estimate) -> str:
    return f"{words.points(told.value)} {words.signed_interval(told.low, told.high)}"
