"""Faults of a method beside the rest of a recipe: combinations that would train something else than they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast import members
from holdfast.errors import Fault, UserError
from holdfast.methods import METHODS
from holdfast.recipe import Data

OWN_LOSS = ("dpo", "grpo", "ppo")
"""Methods whose loss is their own."""
PLAYS = ("rft", "grpo", "ppo")
"""Methods that draw answers of their own, which something has to judge."""
DRAWS = ("rft", "dpo")
"""Methods that learn from answers drawn before the first step, or, as to dpo, from a file's."""
OF_DRAWING = (
    "problems",
    "samples",
    "pairs_per_problem",
    "reward",
    "attempts",
    "temperature",
    "top_p",
    "max_new_tokens",
)
"""Options that mean nothing where answers come from a file."""


def method_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of ``method`` with what stands around it; its own name and options are judged elsewhere."""
    spec = values.get("method", "sft")
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    data = values.get("data")
    if name in PLAYS and isinstance(data, Mapping) and _is_file(data):
        yield Fault("method", f"{name} draws answers and lets an environment judge them; data names a file")
    if name != "sft" and isinstance(data, Mapping) and data.get("corrupt"):
        yield Fault("data.corrupt", f"{name} does not learn from demonstrations", "Leave corrupt out.")
    objective = values.get("objective", "nll")
    if name in OWN_LOSS and objective not in ("nll", {"name": "nll"}):
        yield Fault("objective", f"{name} has a loss of its own", "Leave objective out, or write method: sft or rft.")
    if name in OWN_LOSS and values.get("normalize", "tokens") != "tokens":
        yield Fault("normalize", f"{name} has a normalization of its own", "Leave normalize out.")
    if name in ("grpo", "ppo"):
        yield from _uneven_groups(spec, values)
    if name in DRAWS:
        yield from _undrawable(name, spec, values)


def _uneven_groups(spec: Any, values: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        options = members.build("method", spec, METHODS)
    except UserError:
        return  # said elsewhere
    rows = [
        values.get(key, default)
        for key, default in (("per_device_train_batch_size", 8), ("gradient_accumulation_steps", 1))
    ]
    if not all(isinstance(row, int) for row in rows):
        return
    episodes = rows[0] * rows[1] * options.steps_a_pass
    if episodes % options.num_generations:
        yield Fault(
            "method.num_generations",
            f"a rollout has {episodes} episodes (rows of a step times the steps of a pass), which is no multiple of "
            f"{options.num_generations}",
            "Change per_device_train_batch_size or num_generations.",
        )


def _undrawable(name: str, spec: Any, values: Mapping[str, Any]) -> Iterator[Fault]:
    data, budget = values.get("data"), values.get("budget")
    if not isinstance(data, Mapping):
        return
    if _is_file(data):
        given = [key for key in OF_DRAWING if isinstance(spec, Mapping) and key in spec]
        if name == "dpo" and given:
            yield Fault("method", f"data names a file of pairs, so nothing is drawn, and {', '.join(given)} do nothing")
        return
    if isinstance(budget, Mapping) and budget.get("epochs") is not None:
        yield Fault(
            "budget.epochs",
            f"how many rows {name} learns from is known only when answers are drawn",
            "Write budget: {steps: N}.",
        )
    try:
        options = members.build("method", spec, METHODS)
    except UserError:
        return  # said elsewhere
    size = data.get("size", Data.model_fields["size"].default)
    if isinstance(size, int) and options.problems > size:
        yield Fault(
            "method.problems",
            f"{options.problems} problems are to be asked, and the data has {size}",
            "Lower method.problems or raise data.size.",
        )


def _is_file(data: Mapping[str, Any]) -> bool:
    """Whether the data are a file's; a resolved recipe spells out that there is none."""
    return data.get("path") is not None and data.get("environment") is None
