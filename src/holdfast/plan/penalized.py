"""Which matrices a recipe's penalty is about, what it costs and what it keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast.errors import SelectionError
from holdfast.models.roles import IN_BLOCKS, ParameterRole
from holdfast.objectives.penalty_cost import flops, held_bytes
from holdfast.plan.figures import PenaltyPlan
from holdfast.recipe import Recipe
from holdfast.selection import parse, select


def penalized(
    recipe: Recipe, parameters: Sequence[ParameterRole], changing: Collection[str]
) -> tuple[ParameterRole, ...]:
    """Return the matrices, and stacks of experts, that a recipe's penalty is about; none without one.

    Args:
        recipe: Its ``penalty.on`` chooses; else all matrices of the decoder's blocks.
        parameters: Of the plain model.
        changing: Names of those that training changes: no others are penalized.

    Raises:
        SelectionError: ``penalty.on`` matches nothing in the model.
    """
    if recipe.penalty is None:
        return ()
    changes = [p for p in parameters if p.name in frozenset(changing) and p.matrices]
    if recipe.penalty.on is None:
        return tuple(p for p in changes if p.role in IN_BLOCKS and p.layer is not None)
    chosen = frozenset(select(parameters, parse(recipe.penalty.on)).names)
    return tuple(p for p in changes if p.name in chosen)


def penalty_plan(recipe: Recipe, matrices: Sequence[ParameterRole], *, num_processes: int) -> PenaltyPlan | None:
    """Return what a recipe's penalty is about; None without one.

    Raises:
        SelectionError: none of its matrices learns.
    """
    if recipe.penalty is None:
        return None
    if not matrices:
        on = recipe.penalty.on
        where = "in the decoder's blocks" if on is None else f"that penalty.on selects ({on})"
        raise SelectionError(
            f"penalty: no matrix {where} learns under trainable: {recipe.trainable}, so there is nothing to penalize. "
            "Change penalty.on or trainable, or leave penalty out."
        )
    names = tuple(matrix.name for matrix in matrices)
    return PenaltyPlan(names, penalty_flops(recipe, matrices) * num_processes)


def penalty_flops(recipe: Recipe, matrices: Sequence[ParameterRole]) -> int:
    """Return the FLOPs that one process spends a step on the penalty of these matrices."""
    asked, adapter = recipe.penalty, None if recipe.lora is None else recipe.lora.r
    return 0 if asked is None else sum(flops(asked, matrix.shape, adapter=adapter) for matrix in matrices)


def penalty_bytes(recipe: Recipe, matrices: Sequence[ParameterRole], *, stored: int) -> int:
    """Return the memory that the penalty of these matrices takes; see `holdfast.objectives.penalty_cost.held_bytes`."""
    asked, adapter = recipe.penalty, None if recipe.lora is None else recipe.lora.r
    if asked is None:
        return 0
    return sum(held_bytes(asked, matrix.shape, stored=stored, adapter=adapter) for matrix in matrices)
