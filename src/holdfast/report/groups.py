"""Runs into sections (one task on one base model) and arms (runs that differ in nothing but the seed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from holdfast.report.compare import Arm, all_suites
from holdfast.report.run_data import RunData, SuiteFacts

TASK, BASE = "task", "base"


@dataclass(frozen=True)
class Section:
    """All runs of one task on one base model.

    Attributes:
        task: The label ``task`` of the study, else the environment that is learned.
        base: The label ``base`` of the study, else the base model's name.
        runs: In the order of the study.
    """

    task: str
    base: str
    runs: tuple[RunData, ...]

    @property
    def name(self) -> str:
        """Task and base in words."""
        return f"{self.task}, {self.base}"

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The arms, named by the points in which the runs of this section differ."""
        return arms_of(self.runs)

    @cached_property
    def suites(self) -> tuple[SuiteFacts, ...]:
        """The suites, ID first."""
        return tuple(all_suites(self.arms))

    def suites_for(self, purpose: str) -> tuple[SuiteFacts, ...]:
        """Return the suites of a purpose."""
        return tuple(suite for suite in self.suites if suite.purpose == purpose)


def sections(runs: Sequence[RunData]) -> tuple[Section, ...]:
    """Group runs by task and base, in the order in which they appear."""
    groups: dict[tuple[str, str], list[RunData]] = {}
    for run in runs:
        groups.setdefault((task_of(run), base_of(run)), []).append(run)
    return tuple(Section(task, base, tuple(own)) for (task, base), own in groups.items())


def task_of(run: RunData) -> str:
    """Return what a run learns: its label ``task``, else the environment, else the file."""
    data = run.recipe.get("data") or {}
    return str(run.axes.get(TASK) or data.get("environment") or data.get("path") or "?")


def base_of(run: RunData) -> str:
    """Return the label ``base`` of the study, under which several bases are compared, else the base model's name."""
    return str(run.axes.get(BASE) or run.recipe.get("model_name_or_path", "?"))


def method_of(run: RunData) -> str:
    """Return the name of a run's method."""
    spec = run.recipe.get("method", "sft")
    return str(spec.get("name")) if isinstance(spec, Mapping) else str(spec)


def arms_of(runs: Sequence[RunData]) -> tuple[Arm, ...]:
    """Group runs by their labels. Names hold the points of the axes in which these runs differ."""
    varying = {axis for run in runs for axis in run.axes if len({other.axes.get(axis) for other in runs}) > 1}
    own = [axis for axis in dict.fromkeys(axis for run in runs for axis in run.axes) if axis in varying]
    if len({run.name for run in runs}) == 1 or not own:
        groups = {run.name: [other for other in runs if other.name == run.name] for run in runs}
    else:
        groups = {}
        for run in runs:
            groups.setdefault(_short_name(run, own, runs), []).append(run)
    return tuple(Arm(name, tuple(sorted(same, key=lambda run: run.seed))) for name, same in groups.items())


def _short_name(run: RunData, axes: Sequence[str], runs: Sequence[RunData]) -> str:
    name = ", ".join(run.axes[axis] for axis in axes if axis in run.axes) or run.name
    # two arms whose points have the same words, or that the reading of runs has told apart, keep their whole names
    twins = {other.name for other in runs if ", ".join(other.axes[a] for a in axes if a in other.axes) == name}
    return name if len(twins) == 1 else run.name


def facts(run: RunData) -> dict[str, str]:
    """Return all that tells a run from others, as words: its recipe with dotted keys, its labels, task and base.

    A label wins over a recipe key of the same name.
    """
    return {**flat(run.recipe), "method.name": method_of(run), **run.axes, TASK: task_of(run), BASE: base_of(run)}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a recipe's values as words under dotted keys.

    Example:
        >>> flat({"trainable": {"preset": "mlp"}, "seed": 0})
        {'trainable.preset': 'mlp', 'seed': '0'}
    """
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
