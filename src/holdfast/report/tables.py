"""Plain tables: what the terminal prints and the page shows, made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.records import Estimate
from holdfast.report import words
from holdfast.report.compare import Arm, Duel, Result, all_suites, arms, called, estimate, results
from holdfast.report.run_data import RunData
from holdfast.signals.reading import SELECT
from holdfast.statistics import Paired

REPEATED = (
    "Problems answered several times are compared by their shares of right answers: the interval of the difference is "
    "a bootstrap over distinct problems, without width where all changed alike. Where two models meet, n counts "
    "problems, and only A right those of which A has the larger share."
)


@dataclass(frozen=True)
class Table:
    """Rows of words.

    Attributes:
        columns: Headings.
        rows: One word a column.
        align: One letter a column: ``l`` or ``r``.
        notes: How to read it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    notes: tuple[str, ...] = ()


def table(runs: Sequence[RunData]) -> Table:
    """Return the result of every arm on every suite, narrow enough for a terminal.

    Cells hold names from recipes as they are written; who prints them with markup must escape them.
    """
    found = results(arms(runs))
    rows = [
        (
            row.arm.name,
            row.suite.name,
            words.percent(_value(row.base)),
            words.percent(_value(row.end)),
            _ends(row.end),
            words.points(row.paired.difference if row.paired else None),
            words.p_value(row.p_adjusted),
            str(row.end.n) if row.end else words.UNKNOWN,
            str(row.change),
        )
        for row in found
    ]
    tested = "p: exact paired test against the base, each distinct problem counted once, Holm-adjusted over this table."
    return Table(
        ("arm", "suite", "base", "end", "95 %", "change", "p", "n", "verdict"),
        tuple(rows),
        "llrrrrrrl",
        (tested, *repeated_note(row.paired for row in found)),
    )


def repeated_note(compared: Iterable[Paired | None]) -> tuple[str, ...]:
    """Return how to read comparisons of problems that were answered several times, if there are any."""
    return (REPEATED,) if any(paired is not None and paired.method == "means" for paired in compared) else ()


def result_table(rows: Sequence[Result]) -> Table:
    """Return the same in full, for the page: the base of each suite on a row of its own, then the arms."""
    several = any(len(row.seeds) > 1 for row in rows)
    lines = []
    for suite in dict.fromkeys(called(row.suite) for row in rows):
        own = [row for row in rows if called(row.suite) == suite]
        for base in dict.fromkeys(row.base for row in own if row.base is not None):
            of = [row.arm.name for row in own if row.base == base]
            who = "base" if len(of) == len(own) else f"base of {words.listed(of)}"
            blank = (words.UNKNOWN,) * several
            lines.append((suite, who, with_interval(base), *blank, str(base.n), str(base.clusters), "", "", ""))
        lines += [_result_line(suite, row, several) for row in own]
    seeds = ("seeds",) if several else ()
    columns = ("suite", "arm", "success", *seeds, "n", "distinct", "change", "p", "verdict")
    return Table(columns, tuple(lines), "llr" + "r" * len(seeds) + "rrrrl")


def _result_line(suite: str, row: Result, several: bool) -> tuple[str, ...]:
    return (
        suite,
        row.arm.name,
        with_interval(row.end),
        *((_spread(row.seeds),) * several),
        str(row.end.n) if row.end else words.UNKNOWN,
        str(row.end.clusters) if row.end else words.UNKNOWN,
        _change(row.paired),
        words.p_value(row.p_adjusted),
        str(row.change),
    )


def duel_table(rows: Sequence[Duel]) -> Table:
    """Return arms against each other on the same problems."""
    lines = [
        (
            called(row.suite),
            row.first.name,
            row.second.name,
            str(row.paired.only_first),
            str(row.paired.only_second),
            _change(row.paired),
            words.p_value(row.paired.p_value),
            words.p_value(row.p_adjusted),
            str(row.paired.n),
            str(row.paired.clusters),
        )
        for row in rows
    ]
    columns = ("suite", "A", "B", "only A right", "only B right", "B − A", "p", "p Holm", "n", "distinct")
    return Table(columns, tuple(lines), "lllrrrrrrr")


def facts_table(groups: Sequence[Arm]) -> Table:
    """Return every further metric of every suite, at the base and at the end of each arm."""
    rows = []
    for suite in all_suites(groups):
        for metric in further_metrics(groups, suite.name):
            bases = [estimate(arm, suite.name, 0, metric) for arm in groups]
            cells = [_with_n(next((base for base in bases if base is not None), None))]
            cells += [_with_n(estimate(arm, suite.name, None, metric)) for arm in groups]
            rows.append((suite.name, metric.replace("_", " "), *cells))
    return Table(
        ("suite", "share of replies", "base", *(arm.name for arm in groups)),
        tuple(rows),
        "ll" + "r" * (1 + len(groups)),
    )


def further_metrics(groups: Sequence[Arm], suite: str) -> list[str]:
    """Return the names of a suite's metrics beside success, in the order of the record."""
    longer = [facts.name for facts in all_suites(groups) if facts.name.startswith(suite + "_")]
    names: dict[str, None] = {}
    for arm in groups:
        for run in arm.measured:
            for name in run.records[-1].readings:
                metric = name.removeprefix(f"eval_{suite}_")
                foreign = any(name.startswith(f"eval_{other}_") for other in longer)
                if metric != name and metric != "success" and not foreign and not metric.endswith(SELECT):
                    names[metric] = None
    return list(names)


def cost_table(groups: Sequence[Arm]) -> Table:
    """Return what each run was planned to cost and what it did cost."""
    rows = []
    for arm in groups:
        for run in arm.runs:
            steps, per_step = run.plan.get("steps"), run.plan.get("flops_per_step")
            planned = steps * per_step if steps is not None and per_step is not None else None
            spent = run.records[-1].spent if run.records else {}
            measured = spent.get("flops")
            ratio = f"{measured / planned:.3f}" if planned and measured else words.UNKNOWN
            memory = run.result.get("peak_memory_bytes")
            rows.append(
                (
                    arm.name,
                    str(run.seed),
                    words.UNKNOWN if steps is None else str(steps),
                    str(run.result.get("steps", int(spent.get("steps", 0)))),
                    words.power_of_ten(planned),
                    words.power_of_ten(measured),
                    ratio,
                    words.power_of_ten(spent.get("flops_6nd")),
                    words.seconds(run.result.get("wall_seconds")),
                    words.UNKNOWN if memory is None else f"{memory / 1e9:.2f} GB",
                )
            )
    columns = (
        "arm", "seed", "steps planned", "taken", "FLOPs planned", "measured", "ratio", "6·N·D", "time", "peak memory",
    )  # fmt: skip
    return Table(columns, tuple(rows), "lrrrrrrrrr")


def provenance_table(groups: Sequence[Arm]) -> Table:
    """Return where each number comes from: hashes, versions, and whatever else the run's result says of itself."""
    told = {"status", "steps", "meters", "best_step", "spent", "identity", "tokens_per_second"}
    told |= {"wall_seconds", "train_seconds", "measure_seconds", "peak_memory_bytes", "peak_accelerator_bytes"}
    runs = [run for arm in groups for run in arm.runs]
    names = list(dict.fromkeys(key for run in runs for key in run.result if key not in told))
    meters = list(dict.fromkeys(key for run in runs for key in run.result.get("meters") or {}))
    rows = [
        (
            run.name,
            str(run.seed),
            run.status,
            *(_short(run.result.get(name)) for name in names),
            *(words.percent((run.result.get("meters") or {}).get(meter)) for meter in meters),
        )
        for run in runs
    ]
    heads = [name.replace("_", " ") for name in [*names, *meters]]
    return Table(("arm", "seed", "status", *heads), tuple(rows), "lrl" + "l" * len(names) + "r" * len(meters))


def difference_table(groups: Sequence[Arm]) -> Table:
    """Return the recipe keys in which arms differ, other than the seed and names."""
    flat = [_flat(arm.runs[0].recipe) for arm in groups]
    keys = dict.fromkeys(key for values in flat for key in values)
    apart = [
        key
        for key in keys
        if key not in ("seed", "run_name", "output_dir") and len({values.get(key, "") for values in flat}) > 1
    ]
    rows = [
        (arm.name, *(values.get(key, words.UNKNOWN) for key in apart)) for arm, values in zip(groups, flat, strict=True)
    ]
    return Table(("arm", *apart), tuple(rows) if apart else (), "l" * (1 + len(apart)))


def trained_share(arm: Arm) -> str:
    """Return which part of the model an arm trained, ``attention, 35.6 % of 2.3 M``."""
    told = arm.runs[0].plan.get("trainable", {})
    if not told.get("n_parameters"):
        return str(arm.runs[0].recipe.get("trainable", ""))
    share = told["n_trainable"] / told["n_parameters"]
    matched = told.get("matched")
    depth = f", depth {matched['depth']} matches within {100 * matched['mismatch']:+.1f} %" if matched else ""
    return f"{told.get('label', '')}, {words.percent(share)} of {words.amount(told['n_parameters'])}{depth}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = str(value)
    return flat


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = words.UNKNOWN if value is None else str(value)
    return text[:16] + "…" if len(text) > 40 and " " not in text else text


def _change(paired: Paired | None) -> str:
    if paired is None:
        return words.UNKNOWN
    return f"{words.points(paired.difference)} {words.signed_interval(paired.low, paired.high)}"


def _spread(seeds: Sequence[float]) -> str:
    return f"{100 * seeds[0]:.1f} to {100 * seeds[-1]:.1f}" if seeds else words.UNKNOWN


def _with_n(estimate_: Estimate | None) -> str:
    """Return two lines, value with n and interval: shares of one column are taken over different replies."""
    if estimate_ is None:
        return words.UNKNOWN
    value, _, ends = with_interval(estimate_).partition(" [")
    return f"{value} ({estimate_.n})" + (f"\n[{ends}" if ends else "")


def _value(estimate_: Estimate | None) -> float | None:
    return None if estimate_ is None else estimate_.value


def _ends(estimate_: Estimate | None) -> str:
    return words.UNKNOWN if estimate_ is None else words.interval(estimate_.low, estimate_.high)


def value_and_ends(estimate_: Estimate | None) -> tuple[str, str]:
    """Return an estimate for a narrow cell: the value, and its interval for the line below."""
    return words.percent(_value(estimate_)), _ends(estimate_)


def with_interval(estimate_: Estimate | None) -> str:
    """Return an estimate in percent with its interval, or as a plain number where it is no rate."""
    if estimate_ is None:
        return words.UNKNOWN
    value, low, high = estimate_.value, estimate_.low, estimate_.high
    if value is not None and not 0 <= value <= 1:
        return f"{value:.4g}"
    ends = f" {words.interval(low, high)}" if low is not None else ""
    return words.percent(value) + ends
