"""Run folders and study folders from disk, as they are: finished, stopped, or broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import RunFolderError
from holdfast.records import Record, Sample

PURPOSES = ("id", "ood", "retention")


@dataclass(frozen=True)
class SuiteFacts:
    """What a suite asks.

    Attributes:
        name: Its name in the recipe.
        purpose: ``id``, ``ood`` or ``retention``.
        rule: The rule it asks under; empty for a file of the user's.
        exposure: ``known to the base``, ``never seen`` or ``unknown``.
        attempts: Answers per problem.
    """

    name: str
    purpose: str
    rule: str
    exposure: str
    attempts: int = 1


@dataclass(frozen=True)
class RunData:
    """One run as its folder tells it.

    Attributes:
        folder: Where it lies.
        name: Label of the arm; runs that differ in nothing but the seed share it.
        axes: Axis of the study to its point, as words.
        seed: The run's seed.
        status: ``finished``, ``stopped``, ``interrupted``, what the study says of it, or ``unfinished``.
        recipe: ``recipe.yaml``.
        plan: ``plan.json``; empty if there is none.
        metrics: Lines of ``metrics.jsonl``.
        records: Lines of ``records.jsonl``; empty if the run never got there.
        result: ``result.json``; empty if there is none.
        notes: What the study's author says about it.
        faults: What could not be read.
    """

    folder: Path
    name: str
    axes: Mapping[str, str]
    seed: int
    status: str
    recipe: Mapping[str, Any]
    plan: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    records: tuple[Record, ...]
    result: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    _samples: dict[tuple[str, int], tuple[Sample, ...]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def suites(self) -> dict[str, SuiteFacts]:
        """The suites by name: ID first, then OOD, then retention, otherwise in the recipe's order."""
        planned, asked = self.plan.get("suites", {}), self.recipe.get("suites", {})
        facts = {}
        for name in [*asked, *(name for name in planned if name not in asked)]:
            told = {**asked.get(name, {}), **planned.get(name, {})}
            facts[name] = SuiteFacts(
                name=name,
                purpose=str(told.get("purpose", "ood")),
                rule=str(told.get("rule") or told.get("path") or ""),
                exposure=str(told.get("exposure", "unknown")),
                attempts=int(told.get("attempts", 1)),
            )
        return dict(sorted(facts.items(), key=lambda pair: _rank(pair[1].purpose)))

    def record_at(self, step: int) -> Record | None:
        """Return the record of a step, if there is one."""
        return next((record for record in self.records if record.step == step), None)

    def samples(self, suite: str, step: int) -> tuple[Sample, ...]:
        """Return the graded problems of a suite at a step that the tables count: all, or the report half.

        Empty if they were not kept.
        """
        if (suite, step) not in self._samples:
            path = self.folder / "samples" / suite / f"{step}.jsonl"
            rows = read_lines(path) if path.is_file() else []
            self._samples[suite, step] = tuple(
                sample for row in rows if (sample := Sample.from_json(row)).half != "select"
            )
        return self._samples[suite, step]


def load_runs(paths: Path | str | Sequence[Path | str]) -> list[RunData]:
    """Read runs from a run folder, a study folder, a folder of run folders, or several of these.

    A run that is not finished is read as far as it got. Runs of one name that differ in more than the seed are told
    apart by a number.

    Raises:
        RunFolderError: a folder holds no run, or a file in it cannot be understood (file and line are named).
    """
    roots = [paths] if isinstance(paths, str | Path) else list(paths)
    runs = {run.folder.resolve(): run for root in roots for run in _runs_in(Path(root))}
    return _told_apart(list(runs.values()))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON-lines file. A last line that was broken off while it was written is left out.

    Raises:
        RunFolderError: another line is not a JSON object.
    """
    lines = _text(path).split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as fault:
            if number == len(lines):
                break
            raise RunFolderError(f"{path}:{number} is not JSON: {fault}") from fault
        if not isinstance(row, dict):
            raise RunFolderError(f"{path}:{number} is not a JSON object but {type(row).__name__}")
        rows.append(row)
    return rows


def _runs_in(root: Path) -> Iterator[RunData]:
    if (root / "runs.json").is_file():
        yield from _study(root)
    elif (root / "records.jsonl").is_file() or (root / "recipe.yaml").is_file():
        yield _run(root)
    else:
        folders = sorted(file.parent for file in root.glob("*/recipe.yaml"))
        if not folders:
            raise RunFolderError(
                f"{root} holds no run: neither recipe.yaml nor runs.json is there, nor in a folder below it"
            )
        for folder in folders:
            yield _run(folder)


def _study(root: Path) -> Iterator[RunData]:
    study = _yaml(root / "study.yaml")
    notes = tuple(str(note) for note in study.get("notes") or ())
    entries = _json(root / "runs.json")
    if not isinstance(entries, list):
        raise RunFolderError(f"{root / 'runs.json'} is not a list of runs but {type(entries).__name__}")
    for entry in entries:
        yield _run(
            root / entry["folder"],
            name=str(entry["name"]),
            axes={str(axis): str(point) for axis, point in entry.get("axes", {}).items()},
            seed=int(entry["seed"]),
            status=str(entry.get("status", "")),
            notes=notes,
        )


def _run(
    folder: Path,
    *,
    name: str = "",
    axes: Mapping[str, str] | None = None,
    seed: int | None = None,
    status: str = "",
    notes: tuple[str, ...] = (),
) -> RunData:
    recipe, result = _yaml(folder / "recipe.yaml"), _json(folder / "result.json") or {}
    records = folder / "records.jsonl"
    metrics = folder / "metrics.jsonl"
    return RunData(
        folder=folder,
        name=name or str(recipe.get("run_name") or folder.resolve().name),
        axes=axes or {},
        seed=int(recipe.get("seed", 0)) if seed is None else seed,
        status=str(result.get("status") or status or "unfinished"),
        recipe=recipe,
        plan=_json(folder / "plan.json") or {},
        metrics=tuple(read_lines(metrics)) if metrics.is_file() else (),
        records=_records(records) if records.is_file() else (),
        result=result,
        notes=notes,
        faults=tuple(
            f"{file} is missing"
            for file in ("recipe.yaml", "plan.json", "result.json")
            if not (folder / file).is_file()
        ),
    )


def _records(path: Path) -> tuple[Record, ...]:
    try:
        records = [Record.from_json(row) for row in read_lines(path)]
    except (KeyError, TypeError, ValueError) as fault:
        raise RunFolderError(f"{path} holds a line that is no record: {fault.__class__.__name__}: {fault}") from fault
    return tuple(sorted(records, key=lambda record: record.step))


def _told_apart(runs: list[RunData]) -> list[RunData]:
    """Number the names of runs that would be pooled although their recipes differ in more than the seed."""
    families: dict[str, list[str]] = {}
    named = []
    for run in runs:
        recipe = {key: value for key, value in run.recipe.items() if key not in {"seed", "output_dir", "run_name"}}
        identity = json.dumps(recipe, sort_keys=True, default=str)
        seen = families.setdefault(run.name, [])
        if identity not in seen:
            seen.append(identity)
        number = seen.index(identity)
        named.append(run if number == 0 else replace(run, name=f"{run.name} ({number + 1})"))
    return named


def _rank(purpose: str) -> int:
    return PURPOSES.index(purpose) if purpose in PURPOSES else len(PURPOSES)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RunFolderError(f"cannot read {path}: {fault.__class__.__name__}: {fault}") from fault


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as fault:
        raise RunFolderError(f"{path} is not JSON: {fault}") from fault


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = yaml.safe_load(_text(path))
    except yaml.YAMLError as fault:
        raise RunFolderError(f"{path} is not YAML: {fault}") from fault
    return values if isinstance(values, dict) else {}
