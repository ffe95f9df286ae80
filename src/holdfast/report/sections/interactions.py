"""What training does to interactions between words: what it removes, what it adds, and where the first ends.

From readings of the probe ``interactions`` alone (`holdfast.probes.interactions.probe`), so that compact records are
enough. Reliable is what other models have (``references``) or, where none was asked, what other templates show; where
both were asked both are told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Estimate, Record
from holdfast.report import over_seeds, words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import at, common_steps, level, mean_reading
from holdfast.report.drawing import COLORS, FAINT, INK, new_figure, settle, style
from holdfast.report.groups import Section
from holdfast.report.regret import best_moment
from holdfast.report.run_data import RunData
from holdfast.report.sections.base import Drawing, Part, id_suite, ood_suite
from holdfast.report.sections.looks import percent_axis
from holdfast.report.tables import Table

READS = "interactions_"
MOST_DRAWN = 6
DRAWN = (
    ("removed_unreliable", "removed, unreliable", COLORS[2]),
    ("emerged_reliable", "emerged, reliable", COLORS[0]),
    ("emerged_unreliable", "emerged, unreliable", COLORS[1]),
)


MOMENTS = ("OOD best", "end")


class _By(NamedTuple):
    """Who says what is reliable: in words, and what stands before the names of readings."""

    name: str
    prefix: str


MODELS, TEMPLATES = _By("other models", ""), _By("templates", "stable_")


def part(section: Section) -> Part | None:
    """Tabulate and draw what interactions became; None where no run followed them."""
    arms = [arm for arm in section.arms if _followed(arm)]
    if not arms:
        return None
    asked = ood_suite(section)
    ood = None if asked is None else asked.name
    drawing = Drawing("interactions", partial(_figure, section, arms[:MOST_DRAWN]), _caption(section, arms))
    return Part(
        "What training does to interactions",
        drawings=[drawing],
        tables=[_stages(arms, ood), _masses(arms, ood), _sets(arms, ood)],
    )


def _followed(arm: Arm) -> bool:
    return any(_reading(run.records[-1], "balance") is not None for run in arm.measured)


def _reading(record: Record | None, name: str) -> float | None:
    return None if record is None else record.readings.get(READS + name)


def _ways(arm: Arm) -> list[_By]:
    """Return who was asked: models before templates."""
    firsts = [run.record_at(0) for run in arm.measured]
    return [
        way
        for way, name in ((MODELS, "gamma_preserved"), (TEMPLATES, "stable_preserved"))
        if any(_reading(first, name) is not None for first in firsts)
    ]


def _records(arm: Arm, moment: str, ood: str | None) -> list[Record]:
    """Return the record of each run at one of `MOMENTS`; runs that have none are left out."""
    if moment == "end":
        return [run.records[-1] for run in arm.measured]
    found = [None if (step := _best(run, ood)) is None else run.record_at(step) for run in arm.measured]
    return [record for record in found if record is not None]


def _best(run: RunData, ood: str | None) -> int | None:
    return None if ood is None else best_moment(run, ood)


# where denoising ends


def _stages(arms: Sequence[Arm], ood: str | None) -> Table:
    rows = []
    for arm in arms:
        for way in _ways(arm):
            ends = [_reading(run.records[-1], f"{way.prefix}boundary") for run in arm.measured]
            known = [(run, step) for run, step in zip(arm.measured, ends, strict=True) if step is not None]
            best = [_best(run, ood) for run, _ in known]
            rows.append(
                (
                    arm.name,
                    way.name,
                    _listed([step for _, step in known]),
                    _within(known, way),
                    _listed([_examples(run, step) for run, step in known]),
                    _told(over_seeds.of_seeds([step / max(run.records[-1].step, 1) for run, step in known])),
                    _listed(best),
                    _listed([_gone(run, way, step) for run, step in known], share=True),
                )
            )
    columns = (
        "arm",
        "reliable by",
        "denoising ends at step",
        "other prompts",
        "in examples",
        "share of the run",
        "OOD best at step",
        "removed by then",
    )
    notes = (
        "Denoising ends at the moment with the best balance: removed unreliable mass less emerged unreliable mass. One "
        "number a seed; other prompts: the earliest and latest such moment in 95 % of resampled sets of prompts, over "
        "all seeds. Share of the run: mean, and 95 % interval over seeds. OOD best: the best trained moment of each "
        "seed, in hindsight. Removed by then: of all that was removed at the end.",
    )
    return Table(columns, tuple(rows), "llrrrrrr", notes)


def _within(known: Sequence[tuple[RunData, float]], way: _By) -> str:
    """Return where the boundary may lie by other prompts."""
    found = [run.records[-1].estimates.get(f"{READS}{way.prefix}boundary") for run, _ in known]
    ends = [(one.low, one.high) for one in found if one is not None and one.low is not None and one.high is not None]
    return f"{min(low for low, _ in ends):g} to {max(high for _, high in ends):g}" if ends else words.UNKNOWN


def _examples(run: RunData, step: float) -> float | None:
    record = run.record_at(int(step))
    return None if record is None else record.spent.get("examples")


def _gone(run: RunData, way: _By, step: float) -> float | None:
    there, end = (
        _reading(record, f"{way.prefix}removed_unreliable") for record in (run.record_at(int(step)), run.records[-1])
    )
    return there / end if there is not None and end else None


# what was removed and added


def _masses(arms: Sequence[Arm], ood: str | None) -> Table:
    rows = []
    for arm in arms:
        for way in _ways(arm):
            for when in MOMENTS:
                records = _records(arm, when, ood)
                masses = ("removed_unreliable", "emerged_reliable", "emerged_unreliable", "balance")
                if records:
                    told = [_told(over_seeds.of_estimates(_estimates(records, way.prefix + name))) for name in masses]
                    ratio = _ratio(_estimates(records, f"{way.prefix}reliable_ratio"))
                    rows.append((arm.name, way.name, when, *told, ratio))
    columns = (
        "arm",
        "reliable by",
        "moment",
        "removed, unreliable",
        "emerged, reliable",
        "emerged, unreliable",
        "balance",
        "reliable emerged / unreliable removed",
    )
    notes = (
        "Masses are shares of the strength of all interactions before training; means over prompts and seeds, with "
        "intervals (95 %) that speak of both. The ratio is a geometric mean with the interval of the logarithm and its "
        "p against 1: below 1 training takes away more noise than it brings reliable interactions. It has none where "
        "other prompts might have removed nothing.",
    )
    return Table(columns, tuple(rows), "lllrrrrr", notes)


def _estimates(records: Sequence[Record], name: str) -> list[Estimate]:
    """Return what each record tells of a reading; without interval where it was recorded without one."""
    found = []
    for record in records:
        value = _reading(record, name)
        if value is not None:
            found.append(record.estimates.get(READS + name, Estimate(value, None, None, 1, 1, over_seeds.SEEDS)))
    return found


def _ratio(found: Sequence[Estimate]) -> str:
    known = [one for one in found if one.value is not None and one.value > 0]
    if not known or len(known) < len(found):
        return words.UNKNOWN
    told = over_seeds.of_estimates(known, log=True)
    assert told.value is not None
    if told.low is None or told.high is None:
        return f"{told.value:.2g}"
    return f"{told.value:.2g}\n[{told.low:.2g}, {told.high:.2g}], p {words.p_value(over_seeds.p_of_ratio(known))}"


# what the sets are like


def _sets(arms: Sequence[Arm], ood: str | None) -> Table:
    rows = []
    for arm in arms:
        for when in MOMENTS:
            records = _records(arm, when, ood)
            if records:
                rows.append((arm.name, when, *_of_sets(records)))
    columns = (
        "arm",
        "moment",
        "γ preserved",
        "γ emerged",
        "stable preserved",
        "stable emerged",
        "ρ removed",
        "ρ preserved",
        "ρ emerged",
        "order removed",
        "order preserved",
        "order emerged",
        "high orders",
        "turnover",
        "between templates",
    )
    notes = (
        "γ: share of the set that the other models have with its sign; stable: that other templates show; in brackets "
        "what chance would give. ρ: 1 if all strengths pull one way, 0 for random signs. Order: mean number of words. "
        "High orders: share of strength above two thirds of the words. Turnover: of what counts, since the start, and "
        "between templates of one moment. Means over prompts and seeds.",
    )
    return Table(columns, tuple(rows), "ll" + "r" * 13, notes)


def _of_sets(records: Sequence[Record]) -> list[str]:
    def mean(name: str) -> float | None:
        known = [value for record in records if (value := _reading(record, name)) is not None]
        return sum(known) / len(known) if known else None

    def share(name: str) -> str:
        value, chance = mean(name), mean(f"{name}_chance")
        floor = "" if chance is None or value is None else f" ({words.percent(chance)})"
        return words.percent(value) + floor

    def plain(name: str) -> str:
        value = mean(name)
        return words.UNKNOWN if value is None else f"{value:.2f}"

    return [
        *(share(name) for name in ("gamma_preserved", "gamma_emerged", "stable_preserved", "stable_emerged")),
        *(plain(f"{kind}_{name}") for kind in ("rho", "order") for name in ("removed", "preserved", "emerged")),
        *(words.percent(mean(name)) for name in ("high_order", "turnover", "template_turnover")),
    ]


# in words


def _told(found: Estimate) -> str:
    if found.value is None:
        return words.UNKNOWN
    ends = "" if found.low is None else f"\n{words.interval(found.low, found.high)}"
    return (words.percent(found.value) + ends).replace("-", "−")


def _listed(values: Sequence[float | None], *, share: bool = False) -> str:
    return ", ".join(words.percent(v) if share else words.UNKNOWN if v is None else f"{v:g}" for v in values)


# drawn


def _figure(section: Section, arms: Sequence[Arm]) -> Figure:
    with style():
        figure = new_figure(0.8 + 1.75 * len(arms))
        panels = figure.subplots(len(arms), 2, squeeze=False, sharex=True, width_ratios=(1.25, 1))
        for arm, (masses, success) in zip(arms, panels, strict=True):
            _draw_masses(masses, arm)
            _draw_success(success, arm, section)
        handles = [handle for panel in panels[0] for handle in panel.get_legend_handles_labels()[0]]
        figure.legend(handles=handles, fontsize=8, loc="outside upper left", ncols=len(handles))
        for panel in panels[-1]:
            panel.set_xlabel("optimizer steps")
        return settle(figure)


def _draw_masses(panel: Axes, arm: Arm) -> None:
    steps = sorted(set.intersection(*({record.step for record in run.records} for run in arm.measured)))
    for name, label, color in DRAWN:
        line = [(step, value) for step in steps if (value := mean_reading(arm, READS + name, step)) is not None]
        if not line:
            continue
        panel.plot(*zip(*line, strict=True), color=color, label=label)
        for run in arm.measured if len(arm.measured) > 1 else ():
            own = [_reading(run.record_at(step), name) for step, _ in line]
            panel.plot([step for step, _ in line], [math.nan if v is None else v for v in own], color=color, lw=0.5)
    for run in arm.measured:
        for one in _estimates(run.records[-1:], "boundary"):
            if one.value is not None:
                panel.axvline(one.value, color=INK, lw=0.8, ls=":")
            if one.low is not None and one.high is not None:
                panel.axvspan(one.low, one.high, color=FAINT, alpha=0.08, lw=0)
    panel.set_title(arm.name, fontsize=9)
    panel.set_ylim(bottom=0)
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _draw_success(panel: Axes, arm: Arm, section: Section) -> None:
    for suite, color in ((id_suite(section), COLORS[0]), (ood_suite(section), COLORS[1])):
        if suite is None:
            continue
        told = [(step, level(arm, suite.name, at(arm, step))) for step in common_steps(arm, suite.name)]
        line = [(step, one.value) for step, one in told if one is not None and one.value is not None]
        if line:
            panel.plot(*zip(*line, strict=True), color=color, marker="o", ms=3, label=called(suite))
    percent_axis(panel)


def _caption(section: Section, arms: Sequence[Arm]) -> str:
    left_out = f" The first {MOST_DRAWN} of {len(arms)} arms." if len(arms) > MOST_DRAWN else ""
    who = "the other models" if any(MODELS in _ways(arm) for arm in arms) else "templates of the prompt"
    return (
        f"Left: strength of what was removed and what emerged since the start, as shares of all strength before "
        f"training; reliable by {who}. Thin: one seed each. Dotted: where denoising ends in each seed; gray: by other "
        f"prompts. Right: success, means over {len({run.seed for run in section.runs})} seeds.{left_out}"
    )
