"""What reinforcement gives back of what fine-tuning forgot, from every checkpoint it was started from.

A study of this kind has an arm that is fine-tuned, arms that go on from its checkpoints by reinforcement, and beside
them arms that go on by fine-tuning for as many FLOPs (``starts_from``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Term, at, base, best, common_steps, end, level, measure
from holdfast.report.drawing import COLORS, INK, new_figure, settle, style
from holdfast.report.going_on import Pair, found, level_of_any, mixed_share, solved_anew
from holdfast.report.groups import Section
from holdfast.report.ratios import ratio
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Drawing, Part, cell, ood_suite, seeds_told, shown, signed_cell
from holdfast.report.sections.looks import percent_axis
from holdfast.report.tables import Table

FEWEST_MIXED = 0.2
"""Share of groups with unequal rewards under which there is next to nothing to learn from."""
OUT_OF_RANGE = "out of range"


def part(section: Section) -> Part | None:
    """Tabulate recoveries, costs and new solutions; None if no arm goes on from another by reinforcement."""
    tuned, pairs = found(section)
    asked = ood_suite(section)
    if tuned is None or asked is None:
        return None
    tables = [_recoveries(tuned, pairs, asked), _changes(section, pairs)]
    for suite in section.suites:
        news = _table_of_new(section, tuned, pairs, suite)
        tables += [news] if news is not None else []
    caption = (
        f"Line: fine-tuning. From each start an arrow to {called(asked)} after reinforcement, and after more "
        f"fine-tuning for as many FLOPs, with 95 % intervals. {seeds_told(section)}"
    )
    drawing = Drawing("restoration", partial(_figure, tuned, pairs, asked), caption)
    return Part("What reinforcement gives back", drawings=[drawing], tables=tables)


def _figure(tuned: Arm, pairs: Sequence[Pair], asked: SuiteFacts) -> Figure:
    suite = asked.name
    with style():
        figure = new_figure(3.6)
        panel = figure.subplots()
        places = [(step, level(tuned, suite, at(tuned, step))) for step in common_steps(tuned, suite)]
        line = [(step, told.value) for step, told in places if told is not None and told.value is not None]
        panel.plot(*zip(*line, strict=True), color=INK, lw=1.4, label="fine-tuning")
        known: set[str] = set()
        for pair in pairs:
            for place, arm in enumerate(pair.arms):
                label = f"then {_way(arm, pair)}"
                _arrow(panel, arm, suite, pair.step + 3.0 * place, COLORS[place], None if label in known else label)
                known.add(label)
        percent_axis(panel)
        panel.set_ylabel(f"success on {called(asked)}")
        panel.set_xlabel("optimizer steps of fine-tuning")
        panel.legend(loc="best", fontsize=8)
        return settle(figure)


def _arrow(panel: Axes, arm: Arm, suite: str, x: float, color: str, label: str | None) -> None:
    before, after = level(arm, suite, base(arm)), level(arm, suite, end(arm, suite))
    if before is None or after is None or before.value is None or after.value is None:
        return
    arrow = {"arrowstyle": "->", "color": color, "lw": 1.2}
    panel.annotate("", (x, after.value), (x, before.value), arrowprops=arrow)
    if after.low is not None and after.high is not None:
        panel.plot([x, x], [after.low, after.high], color=color, lw=0.8, alpha=0.6)
    panel.plot([x], [after.value], marker="o", ms=6, color=color, mec="white", ls="", label=label)


def _way(arm: Arm, pair: Pair) -> str:
    """Return how an arm goes on, in the words of its name: what follows ``sft from 10``."""
    if arm is pair.rewarded:
        return "reinforcement"
    more = arm.name.partition(f"from {pair.step}")[2].strip(", ")
    return f"fine-tuning, {more}" if more else "fine-tuning as it was"


def _recoveries(tuned: Arm, pairs: Sequence[Pair], asked: SuiteFacts) -> Table:
    suite = asked.name
    top, last = best(tuned, suite), end(tuned, suite)
    peak, bottom = Term(tuned, suite, top), Term(tuned, suite, last)
    rows = [_recovery(pair, arm, peak) for pair in pairs for arm in pair.arms]
    forgotten = share_cell(_one_minus(ratio([bottom], [peak])))
    told = sorted({step for steps in top.values() for step in steps})
    columns = (
        "from step", "by", "there", "after", "reinforcement − it", "of the peak", "of the loss", "unequal groups",
    )  # fmt: skip
    note = (
        f"Success on {called(asked)}. Its peak in fine-tuning is {_flat(cell(level(tuned, suite, top)))} "
        f"at step {', '.join(map(str, told))} (chosen in hindsight, hence too high), its end "
        f"{_flat(cell(level(tuned, suite, last)))}: {_flat(forgotten)} of the peak is "
        "forgotten (1 − end / peak). Of the peak: after / peak. Of the loss: (after − there) / (peak − there); none "
        "where nothing was lost for certain. Intervals of ratios are Fieller's. Unequal groups: share of groups of "
        "answers whose rewards differed, in the first quarter of training; under "
        f"{words.percent(FEWEST_MIXED)} there is next to nothing to learn from: {OUT_OF_RANGE}."
    )
    return Table(columns, tuple(rows), "rl" + "r" * (len(columns) - 2), (note,))


def _recovery(pair: Pair, arm: Arm, peak: Term) -> tuple[str, ...]:
    suite = peak.suite
    before, after = Term(arm, suite, base(arm)), Term(arm, suite, end(arm, suite))
    rewarded, share = Term(pair.rewarded, suite, end(pair.rewarded, suite)), mixed_share(pair.rewarded)
    mixed = words.UNKNOWN if share is None else f"{words.percent(share)}{_out(share)}"
    return (
        str(pair.step),
        _way(arm, pair),
        cell(level(arm, suite, before.moments)),
        cell(level(arm, suite, after.moments)),
        "" if arm is pair.rewarded else signed_cell(_value([rewarded, _minus(after)])),
        share_cell(ratio([after], [peak])),
        share_cell(ratio([after, _minus(before)], [peak, _minus(before)])),
        mixed if arm is pair.rewarded else "",
    )


def _changes(section: Section, pairs: Sequence[Pair]) -> Table:
    suites = [suite for suite in shown(section) if any(end(pair.rewarded, suite.name) for pair in pairs)]
    rows = []
    for pair in pairs:
        for arm in pair.arms:
            changes = (
                _value([Term(arm, suite.name, end(arm, suite.name)), Term(arm, suite.name, base(arm), -1.0)])
                for suite in suites
            )
            rows.append((str(pair.step), _way(arm, pair), *map(signed_cell, changes)))
    note = "Change since the checkpoint, in points, on the same problems."
    return Table(
        ("from step", "by", *(called(suite) for suite in suites)), tuple(rows), "rl" + "r" * len(suites), (note,)
    )


def _table_of_new(section: Section, tuned: Arm, pairs: Sequence[Pair], suite: SuiteFacts) -> Table | None:
    """Tabulate the share of problems that reinforcement solves and no fine-tuned checkpoint does in so many answers."""
    samples = int(
        ((tuned.runs[0].recipe.get("suites") or {}).get(suite.name) or {}).get("decoding", {}).get("samples", 1)
    )
    if samples == 1 or not pairs:
        return None
    single = _asked_once(section, suite)
    rows = []
    for pair in pairs:
        made = solved_anew(pair.rewarded, suite.name, suite.name, tuned, pairs)
        greedy = None if single is None else solved_anew(pair.rewarded, single.name, suite.name, tuned, pairs)
        rows.append((str(pair.step), cell(level_of_any(pair.rewarded, suite.name)), cell(made), cell(greedy)))
    note = (
        f"Problems of {called(suite)}. The third column: at least one of {samples} answers of the reinforced model is "
        f"right, and none of {samples} of the base, nor of any fine-tuned checkpoint of the same seed that was asked "
        "(starts, ends, and ends after more of it). The last: the same, solved by its one greedy answer. It counts "
        "luck as well: a problem solved once in many tries is new if it was not solved before."
    )
    columns = ("from step", f"pass@{samples} after reinforcement", f"new at pass@{samples}", "new, greedily")
    return Table(columns, tuple(rows), "r" * 4, (note,))


def _asked_once(section: Section, suite: SuiteFacts) -> SuiteFacts | None:
    """Return the suite that asks the same problems for one greedy answer."""
    return next(
        (
            other
            for other in section.suites_for(suite.purpose)
            if (other.rule, other.split) == (suite.rule, suite.split) and other.name != suite.name
        ),
        None,
    )


def _value(terms: Sequence[Term]) -> Estimate | None:
    told = measure(terms)
    return None if told is None else told.estimate


def _minus(term: Term) -> Term:
    return Term(term.arm, term.suite, term.moments, -term.weight)


def _one_minus(told: Estimate | None) -> Estimate | None:
    if told is None or told.value is None:
        return told
    low = None if told.high is None else 1 - told.high
    high = None if told.low is None else 1 - told.low
    return Estimate(1 - told.value, low, high, told.n, told.clusters, told.method)


def share_cell(told: Estimate | None) -> str:
    """Return a ratio as percent for a table, its interval on the line below; ends beyond all measure are left open."""
    if told is None or told.value is None:
        return words.UNKNOWN
    ends = [sign + "∞" if end is None else f"{100 * end:.0f}" for sign, end in (("−", told.low), ("", told.high))]
    return f"{100 * told.value:.0f} %\n[{ends[0]}, {ends[1]}]"


def _flat(told: str) -> str:
    return told.replace("\n", " ")


def _out(share: float) -> str:
    return f"\n{OUT_OF_RANGE}" if share < FEWEST_MIXED else ""
