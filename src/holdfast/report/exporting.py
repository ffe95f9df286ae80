"""Finished runs into compact records that can be committed; `holdfast.report.compact` tells the format and reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.errors import RunFolderError
from holdfast.records import Estimate, Record, Sample
from holdfast.report.compact import CURVE, FORMAT, HEAD, OF_PLAY, OUTCOMES, SPENT, TRUTH
from holdfast.report.run_data import RunData
from holdfast.report.squeeze import index_of, rounded, squeeze

CURVE_POINTS = 40
SHARE_FROM = 40
"""Characters of JSON from which on a value is written once and referred to by ``{"$": number}``."""


def write(runs: Sequence[RunData], folder: Path) -> Path:
    """Write the compact records of finished runs into a folder and return it; files of an older export are replaced.

    Raises:
        RunFolderError: there is no run, one has not ended, or the folder cannot be written.
    """
    open_runs = [
        f"{run.name}, seed {run.seed}: {run.status}" for run in runs if run.status not in ("finished", "stopped")
    ]
    if not runs or open_runs:
        raise RunFolderError(
            "there is no run to export" if not runs else f"not finished, hence not exported: {'; '.join(open_runs)}"
        )
    writer = _Writer()
    lines = {
        "runs": [writer.run(run) for run in runs],
        "records": _numbered([writer.records(run) for run in runs]),
        "outcomes": _numbered([writer.outcomes(run) for run in runs]),
    }
    head = {
        "format": FORMAT,
        "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
        "spent": list(SPENT),
        "columns": [list(names) for names in writer.columns],
        "shared": [json.loads(text) for text in writer.shared],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in {**lines, "problems": writer.problems()}.items():
            _replace(folder / f"{name}.jsonl", "".join(_line(row) + "\n" for row in rows))
        _replace(folder / HEAD, json.dumps(head, ensure_ascii=True, indent=1) + "\n")
    except OSError as fault:
        raise RunFolderError(f"cannot write {folder}: {fault.strerror}") from fault
    return folder


@dataclass
class _Writer:
    """What several lines refer to, collected while they are written."""

    shared: dict[str, int] = field(default_factory=dict)
    columns: dict[tuple[str, ...], int] = field(default_factory=dict)
    keys: dict[str, dict[str, int]] = field(default_factory=dict)
    rosters: dict[str, list[tuple[tuple[int, int, int], ...]]] = field(default_factory=dict)

    def run(self, run: RunData) -> dict[str, Any]:
        recipe = {key: value for key, value in run.recipe.items() if key != "output_dir"}
        plays = any(name in line for line in run.metrics for name in OF_PLAY)
        told = [line for line in run.metrics if line.get(OF_PLAY[0] if plays else "nll") is not None]
        metrics, names = _thinned(told), (*CURVE, *OF_PLAY) if plays else CURVE
        return {
            "name": run.name,
            "axes": dict(run.axes),
            "seed": run.seed,
            "status": run.status,
            "recipe": self._share(recipe),
            "plan": self._share(run.plan),
            "result": self._share(run.result),
            "faults": list(run.faults),
            "curve": [[rounded(line.get(name), 4) for line in metrics] for name in names],
        }

    def records(self, run: RunData) -> Iterator[dict[str, Any]]:
        for record in run.records:
            names = tuple(record.estimates)
            whole = record in _ends(run)
            yield {
                "step": record.step,
                "spent": [record.spent.get(name) for name in SPENT],
                "columns": self.columns.setdefault(names, len(self.columns)),
                "estimates": [_estimate(record.estimates[name], whole or _shown_throughout(name)) for name in names],
                "readings": {name: rounded(value) for name, value in record.readings.items() if name not in names},
            }

    def outcomes(self, run: RunData) -> Iterator[dict[str, Any]]:
        for suite in run.suites:
            for record in run.records:
                samples = run.samples(suite, record.step)
                if samples:
                    yield {
                        "suite": suite,
                        "step": record.step,
                        **self._roster(suite, samples),
                        "outcome": squeeze([OUTCOMES.index(sample.outcome) for sample in samples]),
                        **(_facts(samples) if record in _ends(run) else {}),
                    }

    def problems(self) -> list[dict[str, Any]]:
        return [
            {
                "suite": suite,
                "keys": list(self.keys[suite]),
                "rosters": [
                    {
                        "index": index_of([index for index, _, _ in roster]),
                        "key": index_of([key for _, _, key in roster]),
                        **({"step": squeeze([step for _, step, _ in roster])} if any(s for _, s, _ in roster) else {}),
                    }
                    for roster in rosters
                ],
            }
            for suite, rosters in self.rosters.items()
        ]

    def _share(self, values: Mapping[str, Any]) -> dict[str, Any]:
        shared = {}
        for key, value in values.items():
            text = json.dumps(value)
            long = len(text) >= SHARE_FROM
            shared[key] = {"$": self.shared.setdefault(text, len(self.shared))} if long else value
        return shared

    def _roster(self, suite: str, samples: Sequence[Sample]) -> dict[str, int]:
        """Return which problems were asked: a roster, or the first ``n`` of one."""
        keys, rosters = self.keys.setdefault(suite, {}), self.rosters.setdefault(suite, [])
        asked = tuple((one.index, one.step, keys.setdefault(one.key, len(keys))) for one in samples)
        for number, roster in enumerate(rosters):
            if roster[: len(asked)] == asked:
                return {"roster": number, "n": len(asked)}
        rosters.append(asked)
        return {"roster": len(rosters) - 1, "n": len(asked)}


def _numbered(rows_of_runs: Sequence[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return rows with the number of their run. A row that was there before is told by its line, from 0 on.

    All runs of one base begin with the same answers.
    """
    lines: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for run, rows in enumerate(rows_of_runs):
        for row in rows:
            first = seen.setdefault(_line(row), len(lines))
            lines.append({"run": run, **(row if first == len(lines) else {"same": first})})
    return lines


def _ends(run: RunData) -> tuple[Record, ...]:
    return (run.records[0], run.records[-1]) if run.records else ()


def _shown_throughout(name: str) -> bool:
    """Whether intervals of every moment are kept: of success, and of what probes found."""
    return name.endswith(("_success", "_success_select")) or not name.startswith("eval_")


def _estimate(told: Estimate, whole: bool) -> list[Any]:
    """Return ``[value, n, clusters, low, high, method]``; a whole number as value is a count of successes."""
    count = None if told.value is None else round(told.value * told.n)
    exact = told.n > 0 and count is not None and count / told.n == told.value
    value = count if exact else told.value
    short = [value, told.n, told.clusters]
    return [*short, rounded(told.low, 5), rounded(told.high, 5), told.method] if whole else short


def _facts(samples: Sequence[Sample]) -> dict[str, Any]:
    names = dict.fromkeys(name for sample in samples for name in sample.facts)
    truths = {name: [sample.facts.get(name) for sample in samples] for name in names}
    found: dict[str, Any] = {"facts": {k: squeeze([TRUTH.index(v) for v in column]) for k, column in truths.items()}}
    if any(sample.solved_at not in (None, 1) for sample in samples):
        found["solved_at"] = squeeze([sample.solved_at or 0 for sample in samples])
    counts = dict.fromkeys(name for sample in samples for name in sample.counts)
    if counts:
        tallies = {name: [sample.counts.get(name, (0, 0)) for sample in samples] for name in counts}
        found["counts"] = {
            k: [squeeze([h for h, _ in pairs]), squeeze([n for _, n in pairs])] for k, pairs in tallies.items()
        }
    pairs = list(dict.fromkeys(sample.confusion for sample in samples))
    if pairs != [None]:
        found["confusion"] = [pairs, squeeze([pairs.index(sample.confusion) for sample in samples])]
    return found


def _thinned(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    every = max(1, math.ceil(len(lines) / CURVE_POINTS))
    return [line for number, line in enumerate(lines, 1) if number % every == 0 or number == len(lines)]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":"))


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
