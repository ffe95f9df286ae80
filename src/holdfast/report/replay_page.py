"""One table and one figure about signals on finished runs, for a terminal, a page and a study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.errors import RunFolderError
from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.drawing import COLORS, FAINT, GRID, new_figure, settle, style, to_svg
from holdfast.report.groups import Section, sections
from holdfast.report.publishing import page_path, publish, template
from holdfast.report.regret import Outcome
from holdfast.report.replaying import NONE, Row, rows, suites_of
from holdfast.report.run_data import RunData
from holdfast.report.sections.base import seeds_told
from holdfast.report.tables import Table
from holdfast.signals.ready import READY, Ready

COLUMNS = ("signal", "stops", "trained", "keeps step", "ID", "OOD", "regret", "cross-fitted", "measuring")


class Replayed:
    """The runs of one task on one base, every signal replayed on them.

    Args:
        section: The runs.
        ood, known: Names of the suites on which success is told; the first of each purpose if None.
        signals: By name.

    Raises:
        RunFolderError: there is no OOD suite that was asked at every moment.
    """

    def __init__(
        self,
        section: Section,
        *,
        ood: str | None = None,
        known: str | None = None,
        signals: Mapping[str, Ready] = READY,
    ) -> None:
        names = suites_of(section, ood=ood, known=known)
        if "ood" not in names or any(name not in {one.name for one in section.suites} for name in names.values()):
            asked = words.listed([suite.name for suite in section.suites])
            raise RunFolderError(
                f"{section.name}: success is told on an OOD suite that is asked at every moment; there are {asked}. "
                "Name one with --ood"
            )
        self.section, self.ood, self.known = section, names["ood"], names.get("id")
        self.rows = rows(section, signals, suites=names)

    @property
    def table(self) -> Table:
        """One row a signal."""
        notes = [
            f"Regret: success on {self.ood} at the best trained moment of each run, less that at the kept moment, in "
            "points. Cross-fitted: the best moment is chosen on one half of the problems and measured on the other, so "
            "that it is not flattered by noise.",
            f"Trained, measuring: shares of the run's steps, and of the time of training until then. {self._told()}",
        ]
        lacking = dict.fromkeys(_first(row.missing) for row in self.rows if row.missing)
        if lacking:
            notes.append(f"Not recorded by all runs: {words.listed(list(lacking))}. Nothing is guessed.")
        if any(row.flattered for row in self.rows):
            notes.append("* chose by the very problems that success is told of, because the suite was not split.")
        stopped = sum(run.status == "stopped" for run in self.section.runs)
        if stopped:
            notes.append(
                f"{stopped} of {len(self.section.runs)} runs ended by a signal of their own: nobody saw further."
            )
        return Table(COLUMNS, tuple(_line(row) for row in self.rows), "lrrrrrrrr", tuple(notes))

    @property
    def by_run(self) -> Table:
        """One row a signal and run: where each stopped, and what it kept."""
        lines = [
            (
                row.name,
                one.arm,
                str(one.seed),
                words.UNKNOWN if one.step is None else str(one.step),
                str(one.kept),
                words.points(None if row.asked is None else row.asked.each[number]),
            )
            for row in self.rows
            for number, one in enumerate(row.runs)
        ]
        return Table(("signal", "arm", "seed", "stops", "keeps", "regret"), tuple(lines), "llrrrr")

    def figure(self) -> Figure:
        """Draw regret and ID success of every signal that could be replayed, the smallest regret on top."""
        return _figure(self.rows, ood=self.ood)

    @property
    def caption(self) -> str:
        """What the figure shows."""
        return (
            f"Left: success on {self.ood} given away against the best trained moment of each run (thick: mean with "
            "95 % interval; small: one run each). Right: success on the ID suite at the moment kept. Gray: rules that "
            "read OOD problems."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "section": self.section.name,
            "ood": self.ood,
            "id": self.known,
            "signals": [
                {
                    "signal": row.name,
                    "oracle": row.oracle,
                    "flattered": row.flattered,
                    "not_recorded": list(row.missing),
                    "id_success": _estimate(row.known.level if row.known else None),
                    "ood_success": _estimate(row.asked.level if row.asked else None),
                    "regret": _estimate(row.regret),
                    "regret_cross_fitted": _estimate(row.asked.fitted if row.asked else None),
                    "runs": [asdict(one) for one in row.runs],
                }
                for row in self.rows
            ],
        }

    def _told(self) -> str:
        arms = len({run.name for run in self.section.runs})
        mean = "" if arms == 1 else f"Means over {arms} arms within each seed. "
        return mean + seeds_told(self.section)


def replayed(
    runs: Sequence[RunData],
    *,
    ood: str | None = None,
    known: str | None = None,
    signals: Mapping[str, Ready] = READY,
) -> list[Replayed]:
    """Replay signals on runs, task by task and base by base.

    Raises:
        RunFolderError: no run recorded anything, or a task has no OOD suite to tell success on.
    """
    measured = [run for run in runs if run.records]
    if not measured:
        raise RunFolderError("there is no run to replay: none has recorded anything")
    return [Replayed(section, ood=ood, known=known, signals=signals) for section in sections(measured)]


def summary(found: Sequence[Replayed]) -> Table:
    """Return the regret of every signal on each of several tasks, the smallest mean of all on top."""
    lines = []
    for row in found[0].rows:
        each = [next((one.regret for one in told.rows if one.name == row.name), None) for told in found]
        values = [one.value for one in each if one is not None and one.value is not None]
        mean = sum(values) / len(values) if len(values) == len(found) else None
        shown = (row.name + (" (oracle)" if row.oracle else ""), *map(_points, each), words.points(mean))
        lines.append((mean is None, mean or 0.0, shown))
    columns = ("signal", *(told.section.name for told in found), "mean")
    note = (
        "Regret: OOD success at the best trained moment of each run, less that at the kept moment, in points. The mean "
        "of tasks has no interval, since tasks are few and were not drawn by chance."
    )
    rows = tuple(shown for _, _, shown in sorted(lines, key=lambda line: line[:2]))
    return Table(columns, rows, "l" + "r" * (len(found) + 1), (note,))


def write(found: Sequence[Replayed], output: Path | str, *, title: str = "When to stop") -> Path:
    """Write the page and its figures, and return the page's path.

    Raises:
        RunFolderError: nothing can be written.
    """
    figures = {f"replay-{number}": one.figure() for number, one in enumerate(found)}

    def picture(name: str, caption: str) -> Markup:
        return to_svg(figures[name], prefix=f"{name}-", title=caption)

    runs = sum(len(one.section.runs) for one in found)
    text = template("replay.html.j2").render(
        title=title,
        summary=summary(found) if len(found) > 1 else None,
        subtitle=f"Signals replayed on {runs} finished run{'s' if runs > 1 else ''}",
        sections=[
            {
                "name": one.section.name,
                "figure": {"svg": picture(name, one.caption), "caption": one.caption},
                "table": one.table,
                "by_run": one.by_run,
            }
            for name, one in zip(figures, found, strict=True)
        ],
    )
    path = page_path(output)
    return publish(
        path if path.suffix == ".html" and Path(output).suffix else path.with_name("replay.html"), text, figures
    )


def _first(missing: Sequence[str]) -> str:
    return missing[0] if len(missing) == 1 else f"{missing[0]} (and {len(missing) - 1} more for the same signal)"


def _line(row: Row) -> tuple[str, ...]:
    name = row.name + (" (oracle)" if row.oracle else "") + (" *" if row.flattered else "")
    if row.missing:
        return (name, "not recorded", *[""] * (len(COLUMNS) - 2))
    stopped = sum(one.step is not None for one in row.runs)
    return (
        name,
        words.UNKNOWN if row.name == NONE else f"{stopped} of {len(row.runs)}",
        words.percent(_mean([one.trained for one in row.runs])),
        f"{median(one.kept for one in row.runs):g}",
        _rate(row.known),
        _rate(row.asked),
        _points(row.regret),
        _points(None if row.asked is None else row.asked.fitted),
        words.percent(_mean([one.seconds for one in row.runs])),
    )


def _rate(told: Outcome | None) -> str:
    if told is None or told.level is None:
        return words.UNKNOWN
    return f"{words.percent(told.level.value)} {words.interval(told.level.low, told.level.high)}"


def _points(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return words.UNKNOWN
    return f"{words.points(found.value)} {words.signed_interval(found.low, found.high)}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else found.to_json()


def _figure(told: Sequence[Row], *, ood: str) -> Figure:
    known = [row for row in told if row.regret is not None and row.regret.value is not None]
    order = sorted(known, key=lambda row: -_value(row.regret))
    with style():
        figure = new_figure(0.9 + 0.3 * len(order))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for place, row in enumerate(order):
            reads_ood = any(need.startswith(f"eval_{ood}_") for need in row.needs)
            color = FAINT if row.oracle or reads_ood else COLORS[0]
            _dot(left, place, row.regret, color, scale=100)
            each = [100 * value for value in (row.asked.each if row.asked else ()) if value is not None]
            left.plot(each, [place - 0.25] * len(each), "o", color=color, alpha=0.35, markersize=2.5)
            _dot(right, place, row.known.level if row.known else None, color, scale=100)
        left.axvline(0, color=GRID, linewidth=1.2, zorder=0)
        left.set_yticks(range(len(order)), [words.visible(row.name, 40) for row in order])
        left.set_ylim(-0.6, len(order) - 0.5)
        left.set_xlabel("regret, points of OOD success")
        right.set_xlabel("ID success, %")
        return settle(figure)


def _dot(panel: Axes, place: int, found: Estimate | None, color: str, *, scale: float) -> None:
    if found is None or found.value is None:
        return
    if found.low is not None and found.high is not None:
        panel.plot([scale * found.low, scale * found.high], [place, place], "-", color=color, linewidth=1.4)
    panel.plot([scale * found.value], [place], "o", color=color)


def _value(found: Estimate | None) -> float:
    assert found is not None
    assert found.value is not None
    return found.value
