"""The figures of one run, as ``plan.json`` keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.plan.beforehand import Beforehand
from holdfast.plan.exposure import Exposure
from holdfast.plan.generating import GeneratesWith
from holdfast.plan.memory import Memory
from holdfast.recipe import Recipe
from holdfast.selection import Selected

if TYPE_CHECKING:
    from holdfast.data.sources import Source
    from holdfast.train.budget import Spent


class SuitePlan(NamedTuple):
    """What a suite will ask.

    Attributes:
        purpose, rule, path: As in the recipe.
        n: Problems at the last moment.
        n_during: Problems at the moments between.
        asked: Questions at the last moment: more than problems where the steps of a problem are asked one by one.
        attempts: Answers per problem.
        exposure: Whether the base has met the rule.
    """

    purpose: str
    rule: str | None
    path: str | None
    n: int
    n_during: int
    asked: int
    attempts: int
    exposure: Exposure


class PenaltyPlan(NamedTuple):
    """What a penalty on the update is about.

    Attributes:
        names: Of the tensors, in the plain model.
        flops: That a step spends on it, over all processes.
    """

    names: tuple[str, ...]
    flops: int


@dataclass(frozen=True)
class Plan:
    """The figures of one run.

    Attributes:
        recipe: What was planned.
        selected: What learns.
        changing: Names, in the plain model, of the tensors that training changes: those that learn, or are adapted.
        penalty: What a penalty on the update is about; None without one.
        whole: Names of all tensors that ``full`` would train: what the distance from the base is relative to.
        steps: Optimizer steps of this run.
        step: What one mean step spends.
        beforehand: What is drawn, and spent, before the first step.
        steps_read: Steps whose batches were read for it: all of them, or as many as are spaced evenly over the run.
        reference: The selection that fixes the budget, with its steps.
        reference_steps: Its optimizer steps.
        rows: Distinct rows of data.
        processes: Processes of the run, a device each.
        generates_with: Who answers, on this machine.
        memory: On each device.
        memory_of: Smallest usual memory in GB for each preset that the model has, for comparison.
        moments: Steps at which the suites are asked.
        suites: By name.
        probes: FLOPs of each probe at a moment, at most.
        warnings: What to hear before training, in sentences.
        source: The rows, those that were read kept, so that a run need not read them again.
    """

    recipe: Recipe
    selected: Selected
    changing: tuple[str, ...]
    penalty: PenaltyPlan | None
    whole: tuple[str, ...]
    steps: int
    step: Spent
    beforehand: Beforehand
    steps_read: int
    reference: str
    reference_steps: int
    rows: int
    processes: int
    generates_with: GeneratesWith
    memory: Memory
    memory_of: Mapping[str, int | None]
    moments: tuple[int, ...]
    suites: Mapping[str, SuitePlan]
    probes: Mapping[str, float]
    warnings: tuple[str, ...]
    source: Source = field(repr=False, compare=False)

    @property
    def label(self) -> str:
        """The selection in words, as a figure's legend would call it."""
        lora = self.recipe.lora
        return label_of(self.recipe.trainable) + ("" if lora is None else f", LoRA r={lora.r}")

    @property
    def total(self) -> Spent:
        """What the whole run spends: exact if all of its steps were read, and no answers are drawn."""
        return times(self.step, self.steps).plus(self.beforehand.spent)

    @property
    def probing(self) -> float:
        """FLOPs of all probes at all moments, at most, as a share of the run's own; 0 for a run without steps."""
        return sum(self.probes.values()) * len(self.moments) / self.total.flops if self.total.flops else 0.0

    def hours(self, tflops: float) -> float:
        """Return the hours of training alone, moments not counted, if each device sustains ``tflops`` TFLOP/s."""
        return self.total.flops / (self.processes * tflops * 1e12) / 3600

    def to_json(self) -> dict[str, Any]:
        """Return ``plan.json``."""
        matched = self.selected.matched
        return {
            "trainable": {
                "label": self.label,
                "n_trainable": self.selected.n_parameters,
                "n_parameters": self.selected.n_total,
                "rows": [
                    {
                        "role": cell.role.value,
                        "layer": cell.layer,
                        "parameters": cell.of_parameters,
                        "trainable": cell.n_parameters,
                    }
                    for cell in self.selected.table
                ],
                "matched": None
                if matched is None
                else {"depth": matched.depth, "layers": list(matched.layers), "mismatch": matched.mismatch},
            },
            "penalty": None
            if self.penalty is None
            else {"tensors": len(self.penalty.names), "flops_per_step": self.penalty.flops},
            "steps": self.steps,
            "steps_read": self.steps_read,
            "flops_per_step": self.step.flops,
            "flops_total": self.total.flops,
            "per_step": self.step.to_json(),
            "beforehand": {
                "problems": self.beforehand.problems,
                "samples": self.beforehand.samples,
                "replayed": self.beforehand.replayed,
                "spent": self.beforehand.spent.to_json(),
            },
            "total": self.total.to_json(),
            "budget": {
                "match": self.recipe.budget.match,
                "reference": self.reference,
                "reference_steps": self.reference_steps,
            },
            "rows": self.rows,
            "processes": self.processes,
            "generate_with": self.generates_with,
            "memory": {
                "weights": self.memory.weights,
                "training": self.memory.training,
                "activations": self.memory.activations,
                "gathered": self.memory.gathered,
                "measuring": self.memory.measuring,
                "penalty": self.memory.penalty,
                "devices": self.memory.devices,
                "total": self.memory.total,
                "fits_gb": self.memory.fits_gb,
                "fits_gb_of": dict(self.memory_of),
            },
            "moments": list(self.moments),
            "suites": {name: suite._asdict() for name, suite in self.suites.items()},
            "probes": dict(self.probes),
            "warnings": list(self.warnings),
        }


def times(spent: Spent, steps: int) -> Spent:
    """Return what ``steps`` steps spend that each spend ``spent``."""
    return replace(spent, **{name: value * steps for name, value in spent.to_json().items()})


def label_of(trainable: str | Mapping[str, Any]) -> str:
    """Return a selection in words: ``"attention"``, ``"mlp, layers first:8"``."""
    if isinstance(trainable, str):
        return trainable
    words = [str(trainable["preset"])] if "preset" in trainable else []
    words += [" + ".join(map(str, trainable["roles"]))] if "roles" in trainable else []
    words += [f"{key} {_short(value)}" for key, value in trainable.items() if key not in ("preset", "roles")]
    return ", ".join(words)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_short(entry)}" for key, entry in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
