"""What reinforcement gives back of what fine-tuning forgot, from every checkpoint it was started from.

A study of this kind has an arm that is fine-tuned, arms that go on from its checkpoints by reinforcement, and beside
them arms that go on by fine-tuning for as many FLOPs (``starts_from``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from holdfast.records import Estimate
from holdfast.report import over_seeds, words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Term, at, base, best, common_steps, end, level, measure
from holdfast.report.drawing import COLORS, INK, new_figure, settle, style
from holdfast.report.groups import Section, method_of
from holdfast.report.ratios import ratio
from holdfast.report.run_data import RunData, SuiteFacts
from holdfast.report.sections.base import Drawing, Part, cell, ood_suite, seeds_told, shown, signed_cell
from holdfast.report.sections.looks import percent_axis
from holdfast.report.tables import Table

REINFORCED = ("ppo", "grpo")
FEWEST_MIXED = 0.2
"""Share of groups with unequal rewards under which there is next to nothing to learn from."""
OUT_OF_RANGE = "out of range"


@dataclass(frozen=True)
class Pair:
    """Two ways to go on from one checkpoint.

    Attributes:
        step: Of the checkpoint; 0 is the base.
        rewarded: The arm that goes on by reinforcement.
        more: The arm that goes on by fine-tuning; None if there is none.
    """

    step: int
    rewarded: Arm
    more: Arm | None


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
        f"Line: fine-tuning. From each start an arrow to {called(asked)} after reinforcement (filled) and after as "
        f"much more fine-tuning (open), with 95 % intervals. {seeds_told(section)}"
    )
    drawing = Drawing("restoration", partial(_figure, tuned, pairs, asked), caption)
    return Part("What reinforcement gives back", drawings=[drawing], tables=tables)


def found(section: Section) -> tuple[Arm | None, list[Pair]]:
    """Return the fine-tuned arm and what goes on from it, by step; None without both kinds."""
    arms = [arm for arm in section.arms if arm.measured]
    rewarded = [arm for arm in arms if method_of(arm.runs[0]) in REINFORCED]
    names = {arm.runs[0].start.arm for arm in rewarded if arm.runs[0].start is not None}
    tuned = next((arm for arm in arms if arm.name in names or arm.runs[0].name in names), None)
    if tuned is None:
        return None, []
    more = {_step(arm): arm for arm in arms if method_of(arm.runs[0]) not in REINFORCED and arm is not tuned}
    pairs = [Pair(_step(arm), arm, more.get(_step(arm))) for arm in rewarded]
    return tuned, sorted(pairs, key=lambda pair: pair.step)


def mixed_share(arm: Arm) -> float | None:
    """Return the share of groups whose rewards differed, in the first quarter of training; None if it was not logged.

    Later there are few where it succeeds.
    """
    told = []
    for run in arm.measured:
        own = [line["mixed_groups"] for line in run.metrics if line.get("mixed_groups") is not None]
        told += own[: max(1, len(own) // 4)]
    return sum(told) / len(told) if told else None


def _figure(tuned: Arm, pairs: Sequence[Pair], asked: SuiteFacts) -> Figure:
    suite = asked.name
    with style():
        figure = new_figure(3.6)
        panel = figure.subplots()
        places = [(step, level(tuned, suite, at(tuned, step))) for step in common_steps(tuned, suite)]
        line = [(step, told.value) for step, told in places if told is not None and told.value is not None]
        panel.plot(*zip(*line, strict=True), color=INK, lw=1.4, label="fine-tuning")
        for pair in pairs:
            for arm, color, filled, shift in (
                (pair.rewarded, COLORS[0], True, 0.0),
                (pair.more, COLORS[1], False, 3.0),
            ):
                if arm is None:
                    continue
                before, after = level(arm, suite, base(arm)), level(arm, suite, end(arm, suite))
                if before is None or after is None or before.value is None or after.value is None:
                    continue
                x = pair.step + shift
                label = "then reinforcement" if filled else "then as much more fine-tuning"
                panel.annotate(
                    "", (x, after.value), (x, before.value), arrowprops={"arrowstyle": "->", "color": color, "lw": 1.2}
                )
                if after.low is not None and after.high is not None:
                    panel.plot([x, x], [after.low, after.high], color=color, lw=0.8, alpha=0.6)
                panel.plot(
                    [x], [after.value], marker="o", ms=6, color=color, mfc=color if filled else "white", ls="",
                    label=label if pair is pairs[-1] else None,
                )  # fmt: skip
        percent_axis(panel)
        panel.set_ylabel(f"success on {called(asked)}")
        panel.set_xlabel("optimizer steps of fine-tuning")
        panel.legend(loc="best", fontsize=8)
        return settle(figure)


def _recoveries(tuned: Arm, pairs: Sequence[Pair], asked: SuiteFacts) -> Table:
    suite = asked.name
    top, last = best(tuned, suite), end(tuned, suite)
    peak, bottom = Term(tuned, suite, top), Term(tuned, suite, last)
    rows = []
    for pair in pairs:
        before = Term(pair.rewarded, suite, base(pair.rewarded))
        after = Term(pair.rewarded, suite, end(pair.rewarded, suite))
        other = None if pair.more is None else Term(pair.more, suite, end(pair.more, suite))
        share = mixed_share(pair.rewarded)
        rows.append(
            (
                str(pair.step),
                words.UNKNOWN if share is None else f"{words.percent(share)}{_out(share)}",
                cell(level(pair.rewarded, suite, before.moments)),
                cell(level(pair.rewarded, suite, after.moments)),
                words.UNKNOWN if other is None else cell(level(other.arm, suite, other.moments)),
                words.UNKNOWN if other is None else signed_cell(_value([after, _minus(other)])),
                share_cell(ratio([after], [peak])),
                share_cell(ratio([after, _minus(before)], [peak, _minus(before)])),
            )
        )
    forgotten = share_cell(_one_minus(ratio([bottom], [peak])))
    told = sorted({step for steps in top.values() for step in steps})
    columns = (
        "from step", "groups with unequal rewards, first quarter", "there", "after reinforcement",
        "after as much fine-tuning", "the one − the other", "of the peak", "of the loss",
    )  # fmt: skip
    note = (
        f"Success on {called(asked)}. Its peak in fine-tuning is {_flat(cell(level(tuned, suite, top)))} "
        f"at step {', '.join(map(str, told))} (chosen in hindsight, hence too high), its end "
        f"{_flat(cell(level(tuned, suite, last)))}: {_flat(forgotten)} of the peak is "
        "forgotten (1 − end / peak). Of the peak: after / peak. Of the loss: (after − there) / (peak − there); none "
        "where nothing was lost for certain. Intervals of ratios are Fieller's. Under "
        f"{words.percent(FEWEST_MIXED)} of groups with unequal rewards there is next to nothing to learn from: "
        f"{OUT_OF_RANGE}."
    )
    return Table(columns, tuple(rows), "r" * len(columns), (note,))


def _changes(section: Section, pairs: Sequence[Pair]) -> Table:
    suites = [suite for suite in shown(section) if any(end(pair.rewarded, suite.name) for pair in pairs)]
    rows = []
    for pair in pairs:
        for how, arm in (("reinforcement", pair.rewarded), ("fine-tuning", pair.more)):
            if arm is not None:
                changes = (
                    _value([Term(arm, suite.name, end(arm, suite.name)), Term(arm, suite.name, base(arm), -1.0)])
                    for suite in suites
                )
                rows.append((str(pair.step), how, *map(signed_cell, changes)))
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


def level_of_any(arm: Arm, suite: str) -> Estimate | None:
    """Return the share of problems that at least one of several answers solves, at an arm's end."""
    return _rate([(run, _any_right(run, suite, run.records[-1].step)) for run in arm.measured])


def solved_anew(arm: Arm, suite: str, against: str, tuned: Arm, pairs: Sequence[Pair]) -> Estimate | None:
    """Return the share of problems that an arm solves at its end and that nothing before it, or beside it, solved.

    Args:
        arm, suite: Whose answers to what; at least one of them must be right.
        against: The suite, of the same problems, that tells what was solved before.
        tuned, pairs: See `found`.
    """
    known = [tuned, *(one for pair in pairs for one in (pair.rewarded, pair.more) if one is not None)]
    made = []
    for run in arm.measured:
        solved = _any_right(run, suite, run.records[-1].step)
        before: dict[tuple[int, str], bool] = {}
        for other in known:
            for twin in other.measured:
                if twin.seed != run.seed:
                    continue
                steps = [record.step for record in twin.records]
                for step in steps[:1] if method_of(other.runs[0]) in REINFORCED else steps:
                    for place, right in _any_right(twin, against, step).items():
                        before[place] = before.get(place, False) or right
        made.append((run, {place: solved[place] and not before[place] for place in solved if place in before}))
    return _rate(made)


def _rate(made: Sequence[tuple[RunData, dict[tuple[int, str], bool]]]) -> Estimate | None:
    places = sorted(set.intersection(*(set(one) for _, one in made))) if made else []
    if not places:
        return None
    values_SN = np.array([[float(one[place]) for place in places] for _, one in made])
    return over_seeds.rate(values_SN, [key for _, key in places])


def _any_right(run: RunData, suite: str, step: int) -> dict[tuple[int, str], bool]:
    right: dict[tuple[int, str], bool] = {}
    for sample in run.samples(suite, step):
        place = (sample.index, sample.key)
        right[place] = right.get(place, False) or sample.solved_at == 1
    return right


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


def _step(arm: Arm) -> int:
    start = arm.runs[0].start
    return 0 if start is None else start.step
