"""The methods of the loop, made of a recipe: what supplies its batches, what it minimizes, and what that costs."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from holdfast.data.batches import Batches, SharePrefixes, example_with_pictures
from holdfast.data.sources import Source
from holdfast.models.cost import Cost, cost
from holdfast.models.load import Loaded, load
from holdfast.models.ranks import Ranks
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from holdfast.objectives.passes import asks_base, priced
from holdfast.recipe import Recipe
from holdfast.train.old_policy import OldPolicy
from holdfast.train.sft import SFT


def load_for(recipe: Recipe) -> Loaded:
    """Load the model that a recipe starts from."""
    return load(
        recipe.model_name_or_path,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        revision=recipe.model_revision,
    )


def price_of(
    model: nn.Module, learning: Collection[str], objective: Objective, *, rows: Source, share: SharePrefixes
) -> Cost:
    """Return what steps on ``rows`` cost when ``learning`` is what learns, the objective's further passes included."""
    example = example_with_pictures(rows)

    def price(names: Collection[str]) -> Cost:
        return cost(model, names, shared=share != "never", example=example)

    return priced(price(learning), objective, forward=lambda: price(()))


def sft(
    recipe: Recipe,
    loaded: Loaded,
    rows: Source,
    *,
    objective: Objective,
    spent_by: Cost,
    model: nn.Module,
    share: SharePrefixes,
    compute_dtype: torch.dtype,
    ranks: Ranks,
) -> SFT:
    """Return supervised fine-tuning on ``rows``.

    Args:
        recipe, loaded, rows, objective, ranks: Of the run.
        spent_by: See `price_of`.
        model: The loaded one as it is called in training.
        share: Whether rows share prefixes, proved.
        compute_dtype: In which the model computes.
    """
    device = next(model.parameters()).device
    batches = Batches(
        rows,
        seed=recipe.seed,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        pad_token_id=loaded.tokenizer.pad_token_id,
        process_index=ranks.index,
        num_processes=ranks.count,
        share_prefixes=share,
    )
    base = _base(recipe, ranks).to(device) if asks_base(objective) else None
    engine = Engine(loaded.model, objective, normalize=recipe.normalize, forward=model, base=base)
    every = objective.old_policy_steps
    old = OldPolicy(engine, refresh=every, compute_dtype=compute_dtype, device=device) if every else None
    return SFT(engine, batches, spent_by, device, old)


def _base(recipe: Recipe, ranks: Ranks) -> nn.Module:
    """Return the untrained model, to be asked beside the one that learns."""
    with ranks.together():
        base: nn.Module = load_for(recipe).model
    return base.requires_grad_(False).eval()
