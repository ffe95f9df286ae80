"""A finished study as a few small files that can be committed, and back into the runs that a report is made from.

::

    docs/results/figure1/
      study.json       notes; names of columns; values that several runs share
      runs.jsonl       one line a run: arm, labels, seed, recipe, plan, result, a thinned training curve
      records.jsonl    one line a run and moment: spent, estimates, readings
      problems.jsonl   which problems each suite asked, and their clusters
      outcomes.jsonl   one line a run, suite and moment: what became of each problem

What is kept is exact where a test reads it: counts of successes and the outcome of every problem, so that every paired
test can be made again. Bounds of intervals keep five digits, other readings six. Prompts and replies are not kept, and
facts about single replies only at the first and the last moment. Of a suite that is split, the report half's problems
are kept, and of the select half its estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import RunFolderError
from holdfast.records import Estimate, Outcome, Record, Sample
from holdfast.report.files import read_json, read_lines
from holdfast.report.run_data import Answers, RunData
from holdfast.report.squeeze import indices, unsqueeze

HEAD = "study.json"
FORMAT = "holdfast study records 1"
SPENT = ("steps", "flops", "flops_6nd", "flops_trainable", "tokens", "target_tokens", "examples")
CURVE = ("step", "nll", "tokens_per_second", "learning_rate")
OF_PLAY = ("train_success", "mixed_groups")
"""Of a run that plays, at the end of its curve."""
OUTCOMES = (Outcome.WRONG, Outcome.CORRECT, Outcome.UNPARSED)
TRUTH = (False, True, None)


def read(folder: Path) -> list[RunData]:
    """Return the runs that `holdfast.report.exporting.write` was given, as far as compact records keep them.

    Raises:
        RunFolderError: a file cannot be understood.
    """
    head = read_json(folder / HEAD)
    if not isinstance(head, Mapping) or head.get("format") != FORMAT:
        raise RunFolderError(f"{folder / HEAD} is not of the format {FORMAT!r}; export the study again")
    try:
        return list(_runs(folder, head))
    except (KeyError, IndexError, TypeError, ValueError) as fault:
        raise RunFolderError(
            f"the records in {folder} do not fit together ({fault.__class__.__name__}: {fault}); export them again"
        ) from fault


def _by_run(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Return rows by run; a row that was there before is told by its line."""
    lines = read_lines(path)
    rows: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault(line["run"], []).append(lines[line["same"]] if "same" in line else line)
    return rows


def _runs(folder: Path, head: Mapping[str, Any]) -> Iterator[RunData]:
    records, outcomes = _by_run(folder / "records.jsonl"), _by_run(folder / "outcomes.jsonl")
    problems = {line["suite"]: line for line in read_lines(folder / "problems.jsonl")}
    for number, line in enumerate(read_lines(folder / "runs.jsonl")):
        yield RunData(
            folder=folder / f"run-{number}",
            name=line["name"],
            axes=line["axes"],
            seed=line["seed"],
            status=line["status"],
            recipe=_unshared(line["recipe"], head["shared"]),
            plan=_unshared(line["plan"], head["shared"]),
            metrics=tuple(
                dict(zip((*CURVE, *OF_PLAY), point, strict=False)) for point in zip(*line["curve"], strict=True)
            ),
            records=tuple(_record(row, head) for row in records.get(number, ())),
            result=_unshared(line["result"], head["shared"]),
            notes=tuple(head["notes"]),
            study=folder.resolve().name,
            has_texts=False,
            faults=tuple(line["faults"]),
            answers=_answers(outcomes.get(number, ()), problems),
        )


def _record(line: Mapping[str, Any], head: Mapping[str, Any]) -> Record:
    names = head["columns"][line["columns"]]
    estimates = {name: _estimate_of(row) for name, row in zip(names, line["estimates"], strict=True)}
    spent = zip(head["spent"], line["spent"], strict=True)
    return Record(
        step=line["step"],
        spent={name: value for name, value in spent if value is not None},
        readings={**{name: estimate.value for name, estimate in estimates.items()}, **line["readings"]},
        estimates=estimates,
    )


def _estimate_of(row: Sequence[Any]) -> Estimate:
    value, n, clusters, *rest = row
    low, high, method = rest or (None, None, "compact")
    return Estimate(value / n if isinstance(value, int) else value, low, high, n, clusters, method)


def _unshared(values: Mapping[str, Any], shared: Sequence[Any]) -> dict[str, Any]:
    return {
        key: shared[value["$"]] if isinstance(value, Mapping) and value.keys() == {"$"} else value
        for key, value in values.items()
    }


def _answers(rows: Sequence[Mapping[str, Any]], problems: Mapping[str, Mapping[str, Any]]) -> Answers:
    lines = {(row["suite"], row["step"]): row for row in rows}

    def read_samples(suite: str, step: int) -> tuple[Sample, ...]:
        line = lines.get((suite, step))
        return () if line is None else tuple(_samples(line, problems[suite]))

    return read_samples


def _samples(line: Mapping[str, Any], problems: Mapping[str, Any]) -> Iterator[Sample]:
    roster, n = problems["rosters"][line["roster"]], line["n"]
    steps = unsqueeze(roster["step"]) if "step" in roster else [0] * n
    outcomes = [OUTCOMES[number] for number in unsqueeze(line["outcome"])]
    solved = unsqueeze(line["solved_at"]) if "solved_at" in line else [int(o is Outcome.CORRECT) for o in outcomes]
    facts = _rows_of({name: [TRUTH[v] for v in unsqueeze(column)] for name, column in line.get("facts", {}).items()}, n)
    rates = {
        name: zip(unsqueeze(hits), unsqueeze(of), strict=True) for name, (hits, of) in line.get("counts", {}).items()
    }
    counts = _rows_of({name: list(pairs) for name, pairs in rates.items()}, n)
    pairs, which = line.get("confusion", ([None], [0] * n))
    classes, numbers = [tuple(pair) if pair else None for pair in pairs], unsqueeze(which)
    keys = problems["keys"]
    columns = zip(
        indices(roster["index"])[:n], indices(roster["key"])[:n], steps[:n], outcomes, solved, facts, counts, numbers,
        strict=True,
    )  # fmt: skip
    for index, key, step, outcome, attempt, known, counted, number in columns:
        yield Sample(
            index=index,
            key=keys[key],
            half="all",
            prompt="",
            replies=(),
            outcome=outcome,
            code="",
            solved_at=attempt or None,
            reward=math.nan,
            facts=known,
            step=step,
            counts=counted,
            confusion=classes[number],
        )


def _rows_of(columns: Mapping[str, Sequence[Any]], n: int) -> list[Mapping[str, Any]]:
    """Return the rows of columns; equal rows are one object, for most of thousands are alike."""
    if not columns:
        return [{}] * n
    made: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    rows = []
    for values in zip(*columns.values(), strict=True):
        if values not in made:
            made[values] = dict(zip(columns, values, strict=True))
        rows.append(made[values])
    return rows
