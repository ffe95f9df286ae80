"""The page about runs of one task: verdicts, curves, tables, and answers that flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from holdfast.errors import RunFolderError
from holdfast.recipe import replay_in_words
from holdfast.report import caveats, figures, tables, words
from holdfast.report.answers import LONGEST_PROMPT, LONGEST_REPLY, Flips, flips
from holdfast.report.compare import ALL_PAIRS_UP_TO, Arm, Change, Result, all_suites, arms, called, duels, results
from holdfast.report.publishing import Drawn, drawn, page_path, publish, template
from holdfast.report.run_data import RunData
from holdfast.report.stopping import Stop, stops
from holdfast.signals.patience import Patience

SIGNS = {Change.GAINED: "▲", Change.LOST: "▼", Change.KEPT: "=", Change.UNCLEAR: "?", Change.UNKNOWN: ""}
CLASSES = {Change.GAINED: "gained", Change.LOST: "lost", Change.KEPT: "kept", Change.UNCLEAR: "unclear"}


def write(runs: Sequence[RunData], output: Path | str, *, title: str | None = None, date: str = "") -> Path:
    """Write the page of runs; see `holdfast.report.write`.

    Raises:
        RunFolderError: there is no run, or nothing can be written.
    """
    if not runs:
        raise RunFolderError("there is no run to report")
    path = page_path(output)
    groups = arms(runs)
    made = _figures(groups)
    text = template("page.html.j2").render(_context(groups, made, title=title or _title(groups), date=date))
    return publish(path, text, {drawn.name: drawn.figure for drawn in made})


def _context(groups: Sequence[Arm], made: Sequence[Drawn], *, title: str, date: str) -> dict[str, Any]:
    rows, against = results(groups), duels(groups)
    measured = [row for row in rows if row.end is not None]
    return {
        "title": title,
        "subtitle": _subtitle(groups, date),
        "lead": _lead(measured, groups),
        "verdicts": _verdicts(groups, measured),
        "empty": "; ".join(f"{run.name}: {run.status}" for arm in groups for run in arm.runs),
        "warnings": caveats.warnings(groups),
        "curves": [drawn for drawn in made if drawn.name != "trained"],
        "maps": [drawn for drawn in made if drawn.name == "trained"],
        "result": tables.result_table(measured),
        "emphasis": {str(change): css for change, css in CLASSES.items()},
        "several_seeds": any(len(arm.measured) > 1 for arm in groups),
        "duels": tables.duel_table(against),
        "repeated": tables.repeated_note([*(row.paired for row in measured), *(duel.paired for duel in against)]),
        "first_only": len(groups) > ALL_PAIRS_UP_TO,
        "facts": tables.facts_table(groups),
        "stops": [_stop_words(row) for row in stops(groups)] if measured else [],
        "patience": Patience().patience,
        "flips": [_flip_words(found) for found in flips(groups)],
        "caveats": caveats.not_shown(groups),
        "costs": tables.cost_table(groups),
        "provenance": tables.provenance_table(groups),
        "differences": tables.difference_table(groups),
        "recipes": [{"name": arm.name, "text": _yaml(arm.runs[0])} for arm in groups],
    }


def _figures(groups: Sequence[Arm]) -> list[Drawn]:
    measured = [arm for arm in groups if arm.measured]
    made: list[tuple[str, Figure | None, str]] = []
    if measured and all_suites(measured):
        bands = "Bands are 95 % intervals in which each distinct problem counts once."
        if any(len(arm.measured) > 1 for arm in measured):
            bands += " Thick lines: all seeds pooled; thin lines: one seed each."
        made.append(("success-steps", figures.success(groups, against="steps"), f"Success against steps. {bands}"))
        if any("flops" in record.spent for arm in measured for run in arm.measured for record in run.records):
            told = "Success against training FLOPs, counted per matrix product: frozen weights cost no weight gradient."
            made.append(("success-flops", figures.success(groups, against="flops"), told))
        told = (
            "Out-of-distribution against in-distribution success, moment by moment; up is better at equal ID success."
        )
        made.append(("frontier", figures.frontier(groups), told))
    told = "Plain negative log-likelihood of the training batches, whatever objective was minimized."
    made.append(("learning", figures.learning_curves(groups), told))
    told = "Share of solved episodes among those that each step learned from, as they were played: sampled, not greedy."
    made.append(("episodes", figures.episodes(groups), told))
    told = (
        "Share of the parameters of each role in each layer that was trained: blue all, gray none. White: no such role."
    )
    made.append(("trained", figures.trained(groups), told))
    return [drawn(name, figure, caption) for name, figure, caption in made if figure is not None]


def _title(groups: Sequence[Arm]) -> str:
    return groups[0].name if len(groups) == 1 else f"{len(groups)} ways to fine-tune, compared"


def _subtitle(groups: Sequence[Arm], date: str) -> str:
    bases = list(dict.fromkeys(str(arm.runs[0].recipe.get("model_name_or_path", "?")) for arm in groups))
    rules = list(dict.fromkeys(_learned(arm.runs[0]) for arm in groups))
    runs = [run for arm in groups for run in arm.runs]
    seeds = sorted({run.seed for run in runs})
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    named = "seed" if len(seeds) == 1 else "seeds"
    parts = [f"base {words.listed(bases)}", f"trained on {words.listed(rules)}", counted]
    parts.append(f"{named} {', '.join(map(str, seeds))}")
    return " · ".join([*parts, date] if date else parts)


def _learned(run: RunData) -> str:
    data = run.recipe.get("data", {})
    replay = replay_in_words(data)
    learned = data.get("path") or f"{data.get('environment', '?')}, rule {data.get('rule', '?')}"
    return f"{learned} ({replay})" if replay else str(learned)


def _lead(rows: Sequence[Result], groups: Sequence[Arm]) -> str:
    """Say in one to three sentences what became of the success outside of the training distribution."""
    outside = [row for row in rows if row.suite.purpose != "id" and row.paired is not None]
    changes = {arm.name: {row.change for row in outside if row.arm is arm} for arm in groups}
    lost = [name for name, found in changes.items() if Change.LOST in found]
    kept = [name for name, found in changes.items() if found and found <= {Change.KEPT, Change.GAINED}]
    rest = [name for name, found in changes.items() if found and name not in [*lost, *kept]]
    if sum(map(bool, changes.values())) < 2:
        return sentence(rows) if rows else ""
    parts = []
    if lost:
        told = [_fall(row) for row in outside if row.change is Change.LOST]
        parts.append(f"{_arms(lost, changes)} lost success out of distribution{_names(lost)}.")
        parts.append(f"The most is lost by {min(told)[1]}.")
    if kept:
        parts.append(f"{_arms(kept, changes)} kept or gained it{_names(kept)}.")
    if rest:
        parts.append(f"For {_arms(rest, changes)} the problems are too few to tell{_names(rest)}.")
    return " ".join(part[0].upper() + part[1:] for part in parts)


def _arms(names: Sequence[str], of: Mapping[str, object]) -> str:
    return f"all {len(of)} arms" if len(names) == len(of) else f"{len(names)} of {len(of)} arms"


def _names(names: Sequence[str]) -> str:
    return f": {words.listed(list(names))}" if len(names) <= 4 else ""


def _fall(row: Result) -> tuple[float, str]:
    change = row.paired.difference if row.paired is not None and row.paired.difference is not None else 0.0
    return change, f"{row.arm.name} on {row.suite.name}: {_move(row)}"


def sentence(rows: Sequence[Result]) -> str:
    """Return one arm's results in words: ``full: id 97.5 → 99.0 % (gained), ood 75.0 → 26.5 % [22, 31] (lost)``."""
    parts = [
        f"{row.suite.name} {_move(row)} {words.interval(row.end.low, row.end.high)} ({row.change})"
        for row in rows
        if row.end is not None
    ]
    return f"{rows[0].arm.name}: {', '.join(parts)}" if parts else ""


def _move(row: Result) -> str:
    base = "?" if row.base is None or row.base.value is None else f"{100 * row.base.value:.1f}"
    return f"{base} → {words.percent(row.end.value if row.end else None)}"


def _verdicts(groups: Sequence[Arm], rows: Sequence[Result]) -> dict[str, Any]:
    suites = [suite for suite in all_suites(groups) if any(row.suite.name == suite.name for row in rows)]
    shown = [arm for arm in groups if any(row.arm is arm for row in rows)]
    cells = {(row.arm.name, row.suite.name): _cell(row) for row in rows}
    return {
        "suites": [{"name": called(suite), "told": _told(suite.rule, suite.exposure)} for suite in suites],
        "rows": [
            {
                "arm": arm.name,
                "trained": tables.trained_share(arm),
                "cells": [cells.get((arm.name, suite.name)) for suite in suites],
            }
            for arm in shown
        ],
    }


def _told(rule: str, exposure: str) -> str:
    return ", ".join(part for part in (rule, "" if exposure == "unknown" else exposure) if part)


def _cell(row: Result) -> dict[str, str]:
    paired = row.paired
    change = (
        f"{words.points(paired.difference)} points {words.signed_interval(paired.low, paired.high)}" if paired else ""
    )
    return {
        "move": _move(row),
        "css": CLASSES.get(row.change, ""),
        "sign": SIGNS[row.change],
        "word": str(row.change),
        "detail": change or "base and end were not compared on the same problems",
    }


def _stop_words(row: Stop) -> dict[str, Any]:
    return {
        "arm": row.arm,
        "signal": row.signal,
        "oracle": row.oracle,
        "missing": row.missing,
        "stopped": "–"
        if row.oracle
        else "never"
        if not any(row.stopped)
        else ", ".join("end" if s is None else str(s) for s in row.stopped),
        "kept": ", ".join(words.UNKNOWN if step is None else str(step) for step in row.kept),
        "success": [tables.value_and_ends(estimate) for estimate in row.success],
    }


def _flip_words(found: Flips) -> dict[str, Any]:
    shown = [
        {
            "who": f"{flip.arm}, seed {flip.seed}",
            "prompt": words.visible(flip.before.prompt.strip(), LONGEST_PROMPT),
            "expected": words.visible((flip.before.expected or "").strip(), LONGEST_REPLY),
            "before": words.visible(_first(flip.before.replies), LONGEST_REPLY),
            "after": words.visible(_first(flip.after.replies), LONGEST_REPLY),
            "judged": "; ".join(
                [
                    flip.after.code.replace("_", " "),
                    *(n.replace("_", " ") for n, true in flip.after.facts.items() if true and n != "format_ok"),
                ]
            ),
        }
        for flip in found.shown
    ]
    return {"name": found.name, "lost": found.lost, "won": found.won, "pairs": found.pairs, "shown": shown}


def _first(replies: Sequence[str]) -> str:
    return replies[0].strip() if replies and replies[0].strip() else "(nothing)"


def _yaml(run: RunData) -> str:
    return yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=False)
