"""Run folders, study folders and compact records from disk, as they are: finished, stopped, or broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.errors import RunFolderError
from holdfast.records import Record, Sample
from holdfast.report import compact
from holdfast.report.files import read_json, read_lines, read_records, read_yaml
from holdfast.report.run_data import Answers, RunData


def load_runs(paths: Path | str | Sequence[Path | str]) -> list[RunData]:
    """Read runs from a run folder, a study folder, compact records, a folder of run folders, or several of these.

    A run that is not finished is read as far as it got. Runs of one name that differ in more than the seed are told
    apart by a number.

    Raises:
        RunFolderError: a folder holds no run, or a file in it cannot be understood (file and line are named).
    """
    roots = [paths] if isinstance(paths, str | Path) else list(paths)
    runs = {run.folder.resolve(): run for root in roots for run in _runs_in(Path(root))}
    return _told_apart(list(runs.values()))


def _runs_in(root: Path) -> Iterator[RunData]:
    if (root / compact.HEAD).is_file():
        yield from compact.read(root)
    elif (root / "runs.json").is_file():
        yield from _study(root)
    elif (root / "records.jsonl").is_file() or (root / "recipe.yaml").is_file():
        yield _run(root)
    else:
        folders = sorted(file.parent for file in root.glob("*/recipe.yaml"))
        if not folders:
            raise RunFolderError(
                f"{root} holds no run: there is no recipe.yaml, runs.json or {compact.HEAD}, and no recipe.yaml in a "
                f"folder below it"
            )
        for folder in folders:
            yield _run(folder)


def _study(root: Path) -> Iterator[RunData]:
    study = read_yaml(root / "study.yaml")
    notes = tuple(str(note) for note in study.get("notes") or ())
    entries = read_json(root / "runs.json")
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
            study=root.resolve().name,
            start=entry.get("start"),
            toward=entry.get("toward"),
        )


def _run(
    folder: Path,
    *,
    name: str = "",
    axes: Mapping[str, str] | None = None,
    seed: int | None = None,
    status: str = "",
    notes: tuple[str, ...] = (),
    study: str = "",
    start: Mapping[str, Any] | None = None,
    toward: Mapping[str, Any] | None = None,
) -> RunData:
    recipe, result = read_yaml(folder / "recipe.yaml"), read_json(folder / "result.json") or {}
    if start is not None:  # the recipe of each seed names a folder of its own
        told = {"arm": start["arm"], "step": start["step"]}
        recipe = {**recipe, "model_name_or_path": start["base"], "starts_from": told}
    if toward is not None:
        told = {"arm": toward["arm"], "step": toward["step"]}
        recipe = {**recipe, "heal": {**recipe.get("heal", {}), "toward": told}}
    metrics = folder / "metrics.jsonl"
    return RunData(
        folder=folder,
        name=name or str(recipe.get("run_name") or folder.resolve().name),
        axes=axes or {},
        seed=int(recipe.get("seed", 0)) if seed is None else seed,
        status=str(result.get("status") or status or "unfinished"),
        recipe=recipe,
        plan=read_json(folder / "plan.json") or {},
        metrics=tuple(read_lines(metrics)) if metrics.is_file() else (),
        records=_joined(read_records(folder / "records.jsonl"), folder / "spectra.jsonl"),
        result=result,
        notes=notes,
        study=study,
        faults=tuple(
            f"{file} is missing"
            for file in ("recipe.yaml", "plan.json", "result.json")
            if not (folder / file).is_file()
        ),
        answers=_answers(folder),
    )


def _joined(records: tuple[Record, ...], file: Path) -> tuple[Record, ...]:
    """Return records with further readings of their moments, taken down from kept checkpoints after the run."""
    if not file.is_file():
        return records
    later = {int(line["step"]): dict(line["readings"]) for line in read_lines(file)}
    return tuple(
        replace(record, readings={**record.readings, **later[record.step]}) if record.step in later else record
        for record in records
    )


def _answers(folder: Path) -> Answers:
    def read(suite: str, step: int) -> tuple[Sample, ...]:
        path = folder / "samples" / suite / f"{step}.jsonl"
        return tuple(map(Sample.from_json, read_lines(path))) if path.is_file() else ()

    return read


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
