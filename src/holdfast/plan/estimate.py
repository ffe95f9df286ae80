"""What a recipe will train, cost and need, from the structure of its model: before any weight is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.plan.cautions import cautions
from holdfast.plan.exposure import exposure_label
from holdfast.plan.figures import Plan, SuitePlan, label_of, times
from holdfast.plan.memory import Memory, activation_bytes, estimate
from holdfast.recipe import Recipe
from holdfast.selection import PRESETS, Selected, parse, select

if TYPE_CHECKING:
    from holdfast.data.sources import Source
    from holdfast.plan.skeleton import Skeleton
    from holdfast.train.budget import Spent

SAMPLED_STEPS = 8
"""The first steps of the run, read from its data, whose mean shape stands for all."""
WEIGHT_SCALE = 0.02
"""Standard deviation of weights where a configuration names none."""


def plan(recipe: Recipe, *, allow_code: bool = False, num_processes: int = 1) -> Plan:
    """Plan a run without training anything. Reads the model's configuration, its tokenizer, and the first rows.

    Args:
        recipe: Checked by `holdfast.plan.check`.
        allow_code: Whether the recipe may name outside code.
        num_processes: Data-parallel processes; each takes ``per_device_train_batch_size`` rows.

    Raises:
        ModelError: the model cannot be found, or has a module whose role cannot be told.
        SelectionError: the selection, or that of the budget's reference, matches nothing.
        DataError: the rows cannot be read.
    """
    from holdfast.models.roles import roles
    from holdfast.plan.skeleton import skeleton
    from holdfast.train.budget import plan_steps
    from holdfast.train.schedule import moments

    bones = skeleton(
        recipe.model_name_or_path, revision=recipe.model_revision, attn_implementation=recipe.attn_implementation
    )
    parameters = roles(bones.model)
    selected = select(parameters, parse(recipe.trainable), text_only=True)
    reference = select(parameters, parse(recipe.budget.reference), text_only=True)
    source = _source(recipe, bones, allow_code=allow_code)
    batches = _first_steps(recipe, source, bones, num_processes=num_processes)
    step = _mean_step(bones.model, selected.names, batches)
    reference_steps = _reference_steps(recipe, rows=len(source), num_processes=num_processes)
    steps = reference_steps
    if recipe.budget.match != "steps" and reference.names != selected.names:
        whole = times(_mean_step(bones.model, reference.names, batches), reference_steps)
        steps = plan_steps(recipe.budget.match, whole, step)
    memory_of = {
        preset: _memory(recipe, bones, select(parameters, parse(preset), text_only=True), batches).fits_gb
        for preset, roles_of in PRESETS.items()
        if any(parameter.role in roles_of for parameter in parameters)
    }
    suites = _suites(recipe, bones.exposure, allow_code=allow_code)
    every = recipe.evaluate_at
    return Plan(
        recipe=recipe,
        selected=selected,
        whole=select(parameters, parse("full"), text_only=True).names,
        steps=steps,
        step=step,
        reference=label_of(recipe.budget.reference),
        reference_steps=reference_steps,
        rows=len(source),
        memory=_memory(recipe, bones, selected, batches),
        memory_of=memory_of,
        moments=moments(every if isinstance(every, str | list) else every.every, total=steps),
        suites=suites,
        warnings=tuple(_warnings(recipe, bones, selected, suites, steps=steps, reference_steps=reference_steps)),
    )


def _source(recipe: Recipe, bones: Skeleton, *, allow_code: bool) -> Source:
    from holdfast.data.sources import source_of
    from holdfast.evaluate.suite import rules_in_play

    return source_of(
        recipe.data,
        rules=rules_in_play(recipe),
        tokenizer=bones.tokenizer,
        max_length=recipe.max_length,
        allow_code=allow_code,
    )


def _first_steps(recipe: Recipe, source: Source, bones: Skeleton, *, num_processes: int) -> list[list[Any]]:
    """The micro-batches of the first steps that the run will take."""
    from holdfast.data.batches import Batches

    batches = Batches(
        source,
        seed=recipe.seed,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps * num_processes,
        pad_token_id=bones.tokenizer.pad_token_id or 0,
    )
    return [batches.next_step() for _ in range(SAMPLED_STEPS)]


def _mean_step(model: Any, trainable: Sequence[str], batches: Sequence[Sequence[Any]]) -> Spent:
    from holdfast.models.cost import cost
    from holdfast.train.budget import Spent

    priced, spent = cost(model, trainable), Spent()
    for step in batches:
        spent = spent.plus(priced.spent([batch.tensors() for batch in step]))
    return Spent(**{name: value / len(batches) for name, value in spent.to_json().items()})


def _reference_steps(recipe: Recipe, *, rows: int, num_processes: int) -> int:
    if recipe.budget.steps is not None:
        return recipe.budget.steps
    assert recipe.budget.epochs is not None
    step = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * num_processes
    return max(1, math.ceil(recipe.budget.epochs * rows / step))


def _memory(recipe: Recipe, bones: Skeleton, selected: Selected, batches: Sequence[Sequence[Any]]) -> Memory:
    computed = _loaded_dtype(recipe, bones) if recipe.compute_dtype == "auto" else recipe.compute_dtype
    tokens = max(batch.n_computed for step in batches for batch in step)
    return estimate(
        n_parameters=selected.n_total,
        n_trainable=selected.n_parameters,
        stored=_loaded_dtype(recipe, bones),
        computed=computed,
        masters=recipe.master_dtype,
        activations=activation_bytes(
            bones.config, tokens=tokens, computed=computed, checkpointing=recipe.gradient_checkpointing
        ),
    )


def _loaded_dtype(recipe: Recipe, bones: Skeleton) -> str:
    return bones.stored if recipe.dtype == "auto" else recipe.dtype


def _suites(recipe: Recipe, exposure: Mapping[str, Any] | None, *, allow_code: bool) -> dict[str, SuitePlan]:
    from holdfast.evaluate.suite import make_all

    inherited = recipe.data.options
    return {
        suite.name: SuitePlan(
            purpose=suite.purpose,
            rule=spec.rule if spec.path is not None else suite.rule,
            path=spec.path,
            n=suite.size,
            n_during=suite.size_during,
            attempts=suite.attempts,
            exposure=exposure_label(
                exposure,
                spec.environment,
                suite.rule,
                options={**(inherited if spec.environment == recipe.data.environment else {}), **spec.options},
            ),
        )
        for suite, spec in zip(make_all(recipe, allow_code=allow_code), recipe.suites.values(), strict=True)
    }


def _warnings(
    recipe: Recipe,
    bones: Skeleton,
    selected: Selected,
    suites: Mapping[str, SuitePlan],
    *,
    steps: int,
    reference_steps: int,
) -> list[str]:
    scale = vars(bones.config.get_text_config()).get("initializer_range") or WEIGHT_SCALE
    found = cautions(
        recipe,
        sizes={name: suite.n for name, suite in suites.items()},
        steps=steps,
        reference_steps=reference_steps,
        stored=_loaded_dtype(recipe, bones),
        save_dtype=_loaded_dtype(recipe, bones) if recipe.save_dtype == "auto" else recipe.save_dtype,
        weight_scale=float(scale),
        mismatch=None if selected.matched is None else selected.matched.mismatch,
    )
    return [*found, *selected.notes]
