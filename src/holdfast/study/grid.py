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
    quick: {seeds: [0], budget.steps: 20, suites.*.size: 40}      # what `--quick` changes in every arm
    notes: ["What the study is for, in words that go into the report."]

Every point of every axis meets every other; a study of hand-picked arms has one axis. A point that names a ``recipe``
starts from that file instead of the base (a study of several tasks): put its axis first. Arms that differ only in what
does not matter to a run (full fine-tuning matched with itself by one budget or another) share the run.
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
from holdfast.plan import check
from holdfast.recipe import Count, Recipe, assigned, override, read, suggest
from holdfast.study.address import address
from holdfast.study.processes import Spread

Point = Mapping[str, Any]
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
class Arm:
    """One run of a study.

    Attributes:
        name: The points that made it, for example ``"attention, small"``; the same for all seeds.
        labels: Axis to point.
        seed: The run's seed.
        recipe: What is run.
        address: 16 hex digits of all that its numbers depend on; two studies with one address share the run.
    """

    name: str
    labels: Mapping[str, str]
    seed: int
    recipe: Recipe
    address: str

    def folder(self, runs: Path) -> Path:
        """Return the run folder below the folder that studies share."""
        return runs / self.address


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


def load(file: Path, *, assignments: Sequence[str] = (), quick: bool = False, allow_code: bool = False) -> Study:
    """Read a study file, make all of its arms and check every one.

    Args:
        file: A YAML file; see the module docstring.
        assignments: ``key=value`` changes of every arm, which win over the file; ``seeds`` too.
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
    _validated({**values, "seeds": seeds}, source)
    spread = Spread(study.processes_per_run, study.sharded)
    if spread.sharded and spread.processes == 1:
        raise RecipeError(source, [Fault("sharded", "needs several processes", "Set processes_per_run.")])
    base = _base(study.base, file)
    arms = tuple(
        _arm(base, [*points, ("", "", last)], seed, file=file, spread=spread, allow_code=allow_code)
        for points in _combinations(study, source)
        for seed in seeds
    )
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


def _base(base: str | dict[str, Any], file: Path) -> dict[str, Any]:
    if isinstance(base, dict):
        return base
    beside = file.parent / base
    return read(beside if beside.exists() else base)


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


def _arm(
    base: Mapping[str, Any],
    points: Sequence[tuple[str, str, Point]],
    seed: int,
    *,
    file: Path,
    spread: Spread,
    allow_code: bool,
) -> Arm:
    name = ", ".join(point for _, point, _ in points if point) or "base"
    where = f"{file}, arm {name!r}"
    values = dict(base)
    for _, _, changes in points:
        own = dict(changes)
        if "recipe" in own:
            values = _base(str(own.pop("recipe")), file)
        values = changed(values, own, source=where)
    values["seed"] = seed
    values.pop("output_dir", None)  # the study owns the folders
    recipe = check(values, source=where, allow_code=allow_code)
    return Arm(name, {axis: point for axis, point, _ in points if axis}, seed, recipe, address(recipe, spread))


def changed(values: Mapping[str, Any], changes: Point, *, source: str) -> dict[str, Any]:
    """Return ``values`` with changes applied; a dotted key reaches into a block, a plain one replaces it.

    A ``*`` in a dotted key stands for every entry of its block: ``suites.*.size``.
    """
    result = override(values, (), source=source)
    for key, value in changes.items():
        *path, last = key.split(".")
        for block in _blocks(result, path, key=key, source=source):
            block[last] = value
    return result


def _blocks(block: dict[str, Any], path: Sequence[str], *, key: str, source: str) -> list[dict[str, Any]]:
    """Return the blocks that ``path`` leads to."""
    if not path:
        return [block]
    first, *rest = path
    inner = list(block.values()) if first == "*" else [block.setdefault(first, {})]
    for entry in inner:
        if not isinstance(entry, dict):
            raise RecipeError(source, [Fault(key, f"{first} is a value, not a block")])
    return [found for entry in inner for found in _blocks(entry, rest, key=key, source=source)]


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
