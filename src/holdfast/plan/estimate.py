"""What a recipe will train, cost and need, from the structure of its model: before any weight is read."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast.members import build
from holdfast.methods import METHODS, draws, plays
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.passes import asks_base
from holdfast.plan.cautions import cautions
from holdfast.plan.exposure import exposure_label
from holdfast.plan.figures import Plan, SuitePlan, label_of, times
from holdfast.plan.generating import Asked, GeneratesWith, caution, generates, generates_with
from holdfast.plan.in_common import Common
from holdfast.plan.memory import BYTES, Memory, Shape, activation_bytes, estimate
from holdfast.plan.penalized import penalized, penalty_bytes, penalty_plan
from holdfast.plan.steps import Survey, reference_steps
from holdfast.probes.asked import probes_of
from holdfast.recipe import Recipe
from holdfast.selection import PRESETS, Selected, parse, select
from holdfast.selection.notes import TOWERS

if TYPE_CHECKING:
    from holdfast.data.sources import Source
    from holdfast.models.roles import ParameterRole
    from holdfast.models.skeleton import Skeleton

ROWS_LOOKED_AT = 256
"""Rows whose pictures are compared."""
WEIGHT_SCALE = 0.02
"""Standard deviation of weights where a configuration names none."""


def plan(
    recipe: Recipe,
    *,
    allow_code: bool = False,
    num_processes: int = 1,
    sharded: bool = True,
    shared: Common | None = None,
) -> Plan:
    """Plan a run without training anything. Reads the model's configuration, its tokenizer, and rows of data.

    Args:
        recipe: Checked by `holdfast.plan.check`.
        allow_code: Whether the recipe may name outside code.
        num_processes: Processes of the run, a device each; each takes ``per_device_train_batch_size`` rows.
        sharded: Whether several processes share the weights (FSDP 2) or each has all of them: memory is a device's.
        shared: What other plans have read already; its ``allow_code`` counts for the rows.

    Raises:
        ModelError: the model cannot be found, or has a module whose role cannot be told.
        SelectionError: the selection, or that of the budget's reference, matches nothing.
        DataError: the rows cannot be read.
        UserError: the budget cannot be matched: what it counts is not spent by this selection; or answers are to come
            from vLLM, and cannot.
    """
    from holdfast.data.order import epoch_length
    from holdfast.train.budget import plan_steps
    from holdfast.train.schedule import moments

    shared = shared if shared is not None else Common(allow_code)
    bones, parameters, text_only = shared.skeleton(recipe), shared.parameters(recipe), shared.text_only(recipe)
    learning = shared.learning(recipe)
    matrices = penalized(recipe, parameters, learning.changing)
    penalty = penalty_plan(recipe, matrices, num_processes=num_processes)
    selected, plain = learning.selected, recipe.model_copy(update={"lora": None})
    reference = select(parameters, parse(recipe.budget.reference), text_only=text_only)
    source, per_step = shared.source(recipe), shared.rows_per_step(recipe, num_processes=num_processes)
    whole = steps = reference_steps(recipe, rows=epoch_length(source), rows_per_step=per_step)
    read = shared.survey(recipe, whole, names=selected.names, num_processes=num_processes)
    if recipe.budget.match != "steps" and reference.names != selected.names:
        other = shared.survey(plain, whole, names=reference.names, num_processes=num_processes)
        spends = times(other.mean, whole).plus(shared.beforehand(plain, whole, num_processes=num_processes).spent)
        for _ in range(
            2
        ):  # the base is asked about the rows of the steps, so what comes before depends on them a little
            before = shared.beforehand(recipe, steps, num_processes=num_processes).spent
            steps = plan_steps(recipe.budget.match, spends.less(before), read.mean)
        read = shared.survey(recipe, steps, names=selected.names, num_processes=num_processes)
    beforehand = shared.beforehand(recipe, steps, num_processes=num_processes)
    adapted = recipe.lora is not None or recipe.penalty is not None
    devices = num_processes if sharded and not adapted else 1  # neither adapters nor penalties are sharded
    objective = build("objective", recipe.objective, OBJECTIVES, allow_code=allow_code)
    method = build("method", recipe.method, METHODS, allow_code=allow_code)
    probed = any("base" in probe.needs for probe in probes_of(recipe, allow_code=allow_code).values())
    with_base = asks_base(objective) or (plays(method) and method.asks_base) or probed
    needs = functools.partial(_memory, recipe, bones, parameters, with_base=with_base, read=read, devices=devices)
    memory_of = {
        preset: needs(chosen := select(parameters, parse(preset), text_only=text_only), chosen.names).fits_gb
        for preset, roles_of in PRESETS.items()
        if any(parameter.role in roles_of for parameter in parameters)
    }
    suites = _suites(recipe, bones.exposure, allow_code=allow_code)
    every = recipe.evaluate_at
    answers = plays(method) or (draws(method) and recipe.data.path is None)
    who = _who_answers(recipe, bones, answers=answers, num_processes=num_processes)
    return Plan(
        recipe=recipe,
        selected=selected,
        changing=learning.changing,
        penalty=penalty,
        whole=select(parameters, parse("full"), text_only=text_only).names,
        steps=steps,
        step=read.mean,
        beforehand=beforehand,
        steps_read=read.read,
        reference=label_of(recipe.budget.reference),
        reference_steps=whole,
        rows=len(source),
        processes=num_processes,
        generates_with=who,
        memory=needs(selected, learning.changing),
        memory_of=memory_of,
        moments=moments(every if isinstance(every, str | list) else every.every, total=steps),
        suites=suites,
        probes=shared.probe_costs(recipe),
        warnings=(
            *_warnings(recipe, bones, selected, suites, steps=steps, reference_steps=whole),
            *_uneven_pictures(shared.source(recipe)),
            *caution(recipe, who),
        ),
        source=source,
    )


def _memory(
    recipe: Recipe,
    bones: Skeleton,
    parameters: Sequence[ParameterRole],
    selected: Selected,
    changing: Sequence[str],
    *,
    with_base: bool,
    read: Survey,
    devices: int,
) -> Memory:
    stored, computed = _loaded_dtype(recipe, bones), _computed(recipe, bones)
    blocks = Counter[tuple[bool, int | None]]()
    for parameter in parameters:
        blocks[parameter.role in TOWERS, parameter.layer] += parameter.n_parameters
    outside = sum(count for (_, layer), count in blocks.items() if layer is None)
    largest = max((count for (_, layer), count in blocks.items() if layer is not None), default=0)
    needed = estimate(
        Shape(selected.n_total, selected.n_parameters, largest_block=largest, outside=outside),
        stored=stored,
        computed=computed,
        masters=recipe.master_dtype,
        with_base=with_base,
        activations=activation_bytes(
            bones.config, tokens=read.largest, computed=computed, checkpointing=recipe.gradient_checkpointing
        ),
        devices=devices,
    )
    kept = penalty_bytes(recipe, penalized(recipe, parameters, changing), stored=BYTES.get(stored, 2))
    return replace(needed, penalty=kept)


def _loaded_dtype(recipe: Recipe, bones: Skeleton) -> str:
    return bones.stored if recipe.dtype == "auto" else recipe.dtype


def _computed(recipe: Recipe, bones: Skeleton) -> str:
    return _loaded_dtype(recipe, bones) if recipe.compute_dtype == "auto" else recipe.compute_dtype


def _who_answers(recipe: Recipe, bones: Skeleton, *, answers: bool, num_processes: int) -> GeneratesWith:
    anything = generates(recipe, answers=answers)
    asked = Asked(bones.config, bones.processor is not None, _computed(recipe, bones), num_processes, anything)
    return generates_with(recipe, asked)


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
            asked=len(suite.steps()) if suite.decoding.teacher_forced else suite.size,
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
        sizes={name: suite.asked for name, suite in suites.items()},
        steps=steps,
        reference_steps=reference_steps,
        stored=_loaded_dtype(recipe, bones),
        save_dtype=_loaded_dtype(recipe, bones) if recipe.save_dtype == "auto" else recipe.save_dtype,
        weight_scale=float(scale),
        mismatch=None if selected.matched is None else selected.matched.mismatch,
    )
    learning = TOWERS & {row.role for row in selected.rows() if row.n_parameters}
    towers = [
        f"what the {role.value} tower keeps for backward is not in the estimate of memory: leave room for it, or turn "
        "gradient_checkpointing on"
        for role in sorted(learning)
    ]
    return [*found, *towers, *selected.notes]


def _uneven_pictures(source: Source) -> list[str]:
    from holdfast.data.replayed import Replayed

    if source.pictured() is None:
        return []
    parts = (source.main, source.other) if isinstance(source, Replayed) else (source,)
    rows = [row for part in parts for row in part.take(range(min(len(part), ROWS_LOOKED_AT)))]
    kinds = {tuple(picture.size for picture in row.pictures) for row in rows}
    if len(kinds) == 1:
        return []
    return [f"rows differ in number or size of pictures ({len(kinds)} kinds): each is priced as the first with any"]
