"""What the arms of a study will train and cost, before anything is trained: the paper's table 1, planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from holdfast.plan import Plan, plan
from holdfast.plan.in_common import Common
from holdfast.report import Table, words
from holdfast.study.arms import Arm
from holdfast.study.grid import Study
from holdfast.study.processes import Spread


@dataclass(frozen=True)
class ArmPlan:
    """The plan of one arm; seeds differ in the order of rows alone, so the first stands for all.

    Attributes:
        name: The arm.
        seeds: Of its runs.
        plan: With the first seed.
        same_as: An earlier arm that is the same run under another name; empty for an arm of its own.
    """

    name: str
    seeds: tuple[int, ...]
    plan: Plan
    same_as: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the arm's name and seeds with its ``plan.json``."""
        return {"arm": self.name, "seeds": list(self.seeds), "same_as": self.same_as or None, **self.plan.to_json()}


def plans(study: Study, *, spread: Spread | None = None, allow_code: bool = False) -> Iterator[ArmPlan]:
    """Plan each arm of a study once, in its order, reading every model and task a single time.

    Args:
        study: Checked, from `holdfast.study.load`.
        spread: The processes of each run, a device each; None: those of the study.
        allow_code: Whether recipes may name outside code.

    Raises:
        UserError: an arm cannot be planned.
    """
    arms: dict[str, list[Arm]] = {}
    for arm in study.arms:
        arms.setdefault(arm.name, []).append(arm)
    shared, done = Common(allow_code), dict[str, ArmPlan]()
    over = study.spread if spread is None else spread
    for name, runs in arms.items():
        seeds, first = tuple(run.seed for run in runs), runs[0]
        # A checkpoint that is not there yet has the structure of what it will be trained from.
        recipe = first.recipe.model_copy(update={"model_name_or_path": first.base})
        twin = done.get(first.address)
        made = (
            plan(
                recipe,
                allow_code=allow_code,
                num_processes=over.processes,
                sharded=over.sharded,
                shared=shared,
            )
            if twin is None
            else replace(twin.plan, recipe=recipe)
        )
        found = ArmPlan(name, seeds, made, "" if twin is None else twin.name)
        done.setdefault(first.address, found)
        yield found


def plans_table(arms: list[ArmPlan], *, tflops: float | None = None) -> Table:
    """Return trainable parameters, steps and FLOPs of every arm, counted all four ways.

    Args:
        arms: From `plans`.
        tflops: What a device sustains, in TFLOP/s; adds the hours of training.
    """
    rows = [
        (
            arm.name,
            arm.plan.recipe.budget.match,
            words.amount(arm.plan.selected.n_parameters),
            str(arm.plan.steps),
            words.power_of_ten(arm.plan.total.flops),
            words.power_of_ten(arm.plan.total.flops_6nd),
            words.power_of_ten(arm.plan.total.flops_trainable),
            words.amount(arm.plan.total.tokens),
            f"{arm.plan.memory.total / 1e9:.3g} GB",
            *([] if tflops is None else [f"{arm.plan.hours(tflops):.3g}"]),
            words.listed([str(seed) for seed in arm.seeds]),
        )
        for arm in arms
    ]
    hours = () if tflops is None else ("hours",)
    columns = ("arm", "matched by", "trainable", "steps", "FLOPs", "6·N·D", "6·N_trainable·D", "tokens", "memory")
    return Table((*columns, *hours, "seeds"), tuple(rows), "ll" + "r" * (7 + len(hours)) + "l", _notes(arms, tflops))


def _notes(arms: list[ArmPlan], tflops: float | None) -> tuple[str, ...]:
    devices = max(arm.plan.processes for arm in arms)
    how = "weights sharded" if any(arm.plan.memory.devices > 1 for arm in arms) else "weights whole on each"
    read = [arm.plan for arm in arms if arm.plan.steps_read < arm.plan.steps]
    many = "one device" if devices == 1 else f"each of {devices} devices, {how}"
    return (
        f"FLOPs: every matrix product as computed, whole run; memory: of {many}; one seed.",
        *([f"planned from {read[0].steps_read} of {read[0].steps} steps and the like, evenly spaced"] if read else []),
        *([f"hours: training alone, at {tflops:g} TFLOP/s a device; moments come on top"] if tflops else []),
        *(f"{arm.name} is the same run as {arm.same_as}" for arm in arms if arm.same_as),
    )
