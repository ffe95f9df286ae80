"""Rows of training with those that are replayed among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from holdfast.data.replayed import Replayed
from holdfast.errors import UserError
from holdfast.models.cost import Cost
from holdfast.recipe import Recipe
from holdfast.run.drawing import Material

if TYPE_CHECKING:
    from holdfast.run.methods import Start


def asks_for_replay(recipe: Recipe) -> bool:
    """Whether the untrained model answers what is replayed."""
    return recipe.data.replay is not None and recipe.data.replay.answers == "base"


def with_replay(start: Start, material: Material, *, cost: Cost) -> Material:
    """Return what is learned from with the recipe's share of replayed rows.

    Args:
        start: Of a run whose data has a replay.
        material: Of the data alone.
        cost: Of a forward pass.
    """
    replay, other = start.recipe.data.replay, start.replayed
    assert replay is not None
    assert other is not None
    if asks_for_replay(start.recipe):
        raise UserError("not yet")
    rows = Replayed(material.rows, other, share=replay.share)
    return Material(rows, material.spent, _weights(material.row_weights, len(other)))


def _weights(weights: Tensor | None, more: int) -> Tensor | None:
    """Return the weights of rows and of ``more`` replayed ones, each of which counts as a mean row."""
    return None if weights is None else torch.cat([weights, torch.ones(more)])
