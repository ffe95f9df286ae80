"""A study file into named arms: a base recipe, axes whose points change it, and seeds.

::

    base: recipes/quickstart/full.yaml          # a path beside the study file, or a whole recipe
    axes:
      trainable: [full, attention, mlp]          # a recipe key and its values
      rate:                                      # or a label, and named points of several keys
        large: {learning_rate: 1.0e-3}
        small: {learning_rate: 2.0e-4, budget.steps: 320}
    exclude: [{trainable: mlp, rate: large}]   # combinations that are left out
    seeds: [0, 1, 2]
    jobs: auto                                 # runs at a time
    processes_per_run: 1                       # of more than one: data-parallel, or sharded (FSDP 2)
    sharded: false
    quick: {seeds: [0], budget.steps: 20, suites.*.size: 40}      # what `--quick` changes in every arm; `exclude` too
    notes: ["What the study is for, in words that go into the report."]

Every point of every axis meets every other; a study of hand-picked arms has one axis. A point that names a ``recipe``
starts from that file instead of the base (a study of several tasks): put its axis first. Arms that differ only in what
does not matter to a run (full fine-tuning matched with itself by one budget or another) share the run.

An arm may go on from a checkpoint of another arm with the same seed, which is then run first::

    axes:
      arm:
        sft: {save_steps: 20}
        rl from 40: {starts_from: {arm: sft, step: 40}, method: grpo, quick: {starts_from.step: 4}}

A ``quick`` block of a point belongs to the small version alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import Fault, RecipeError
from holdfast.recipe import Count, assigned, read, suggest
from holdfast.study.arms import Arm, Point, block_of, draft, made_of
from holdfast.study.processes import Spread

Axis = dict[str, dict[str, Any]] | list[Any]


class StudyFile(BaseModel):
    """The schema of a study file; see the module docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str | dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, Axis] = Field(default_factory=dict)
    exclude: list[dict[str, str]] = Field(default_factory=list)
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    jobs: Count | Literal["auto"] = "auto"
    processes_per_run: Count = 1
    sharded: bool = False
    quick: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Study:
    """A study file with all of its arms, checked.

    Attributes:
        source: The file.
        arms: In the order of the axes, seeds innermost.
        jobs: Runs at a time, or ``"auto"``.
        spread: The processes of each run.
        notes: For the report.
        values: The file as it was read.
    """

    source: str
    arms: tuple[Arm, ...]
    jobs: int | Literal["auto"] = "auto"
    spread: Spread = field(default_factory=Spread)
    notes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def load(
    file: Path,
    *,
    assignments: Sequence[str] = (),
    quick: bool = False,
    allow_code: bool = False,
    runs: Path = Path("runs"),
) -> Study:
    """Read a study file, make all of its arms and check every one.

    Args:
        file: A YAML file; see the module docstring.
        runs: The folder that studies share: where checkpoints of arms will be.
        assignments: ``key=value`` changes of every arm, which win over the file; ``seeds`` too. ``exclude`` leaves out
            further arms.
        quick: Whether the file's ``quick`` block changes every arm, for a small version of the study.
        allow_code: Whether recipes may name outside code.

    Raises:
        RecipeError: with all faults of the file, or those of the first arm that has any.
    """
    source = str(file)
    values = read(file)
    study = _validated(values, source)
    if quick and not study.quick:
        raise RecipeError(source, [Fault("quick", "is missing: this study has no small version")])
    last = {**(study.quick if quick else {}), **assigned(assignments, source=source)}
    seeds = last.pop("seeds", study.seeds)
    further = last.pop("exclude", [])
    exclude = [*study.exclude, *(further if isinstance(further, list) else [further])]
    study = _validated({**values, "seeds": seeds, "exclude": exclude}, source)
    spread = Spread(study.processes_per_run, study.sharded)
    if spread.sharded and spread.processes == 1:
        raise RecipeError(source, [Fault("sharded", "needs several processes", "Set processes_per_run.")])
    base = block_of(study.base, file)
    drafts = [
        draft(base, [*points, ("", "", last)], seed, file=file, quick=quick)
        for points in _combinations(study, source)
        for seed in seeds
    ]
    arms = made_of(drafts, spread=spread, runs=runs, allow_code=allow_code)
    _refuse_twins(arms, source)
    return Study(source, arms, study.jobs, spread, tuple(study.notes), values)


def _validated(values: Mapping[str, Any], source: str) -> StudyFile:
    try:
        return StudyFile.model_validate(values)
    except pydantic.ValidationError as error:
        faults: dict[str, Fault] = {}
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0])
            if detail["type"] == "extra_forbidden":
                fault = Fault(key, "no such key", suggest(key, StudyFile.model_fields))
            else:
                fault = Fault(key, "is missing" if detail["type"] == "missing" else detail["msg"].lower())
            faults.setdefault(key, fault)
        raise RecipeError(source, list(faults.values())) from error


def _axes(axes: Mapping[str, Axis], source: str) -> list[list[tuple[str, str, Point]]]:
    """Return each axis as a list of (axis, point's name, what it changes)."""
    result: list[list[tuple[str, str, Point]]] = []
    for label, points in axes.items():
        if not points:
            raise RecipeError(source, [Fault(f"axes.{label}", "has no points")])
        if isinstance(points, list):
            result.append([(label, _short(value), {label: value}) for value in points])
        else:
            result.append([(label, str(name), changes) for name, changes in points.items()])
    return result


def _combinations(study: StudyFile, source: str) -> list[tuple[tuple[str, str, Point], ...]]:
    """Return every combination of points but those that ``exclude`` names.

    Raises:
        RecipeError: an exclusion fits nothing, as one with a typo does.
    """
    every = list(itertools.product(*_axes(study.axes, source)))
    excluded = [
        {points for points in range(len(every)) if combination.items() <= {(a, p) for a, p, _ in every[points]}}
        for combination in study.exclude
    ]
    idle = [combination for combination, fits in zip(study.exclude, excluded, strict=True) if not fits]
    if idle:
        raise RecipeError(source, [Fault("exclude", f"fits no arm: {_short(combination)}") for combination in idle])
    out = set().union(*excluded)
    return [points for number, points in enumerate(every) if number not in out]


def _refuse_twins(arms: Sequence[Arm], source: str) -> None:
    names: dict[tuple[str, int], str] = {}
    for arm in arms:
        if names.setdefault((arm.name, arm.seed), arm.address) != arm.address:
            raise RecipeError(source, [Fault("axes", f"two arms are called {arm.name!r}; name their points")])
    written: dict[tuple[str, int], str] = {}
    for arm in arms:
        other = written.setdefault((str(arm.recipe.resolved()), arm.seed), arm.name)
        if other != arm.name:
            raise RecipeError(source, [Fault("axes", f"arms {other!r} and {arm.name!r} are one and the same recipe")])


def _short(value: Any) -> str:
    """A value as the name of a point: ``full``, ``0.001``, ``{name: dft, floor: 0.1}``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(entry)}" for key, entry in value.items()) + "}"
    return str(value)
