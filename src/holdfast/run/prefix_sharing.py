"""Whether a run's rows share prefixes: the plan's answer, proved on the model that will be trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from holdfast.data.batches import SharePrefixes
from holdfast.data.sources import Source
from holdfast.models.compute import compute
from holdfast.models.shareable import verify
from holdfast.plan.prefix_sharing import refuse
from holdfast.recipe import Recipe

ROWS_READ = 256
"""Rows of which the longest stands for all in the proof."""


def proved(
    recipe: Recipe,
    planned: SharePrefixes,
    *,
    model: Any,
    call: Callable[..., Any],
    rows: Source,
    compute_dtype: torch.dtype,
    said: Callable[[str], None],
) -> SharePrefixes:
    """Compute a few rows both ways; return ``planned`` if they agree, else ``never``. Every rank takes part.

    Args:
        recipe: Says ``auto`` or ``always``.
        planned: What `holdfast.plan.prefix_sharing.share_prefixes` made of it.
        model: The model to be trained.
        call: The model as it is called in training.
        rows: What it learns from.
        compute_dtype: See `holdfast.models.compute.compute`.
        said: Hears why rows are padded although the plan shares their prefixes.

    Raises:
        UserError: the recipe says ``always``, and the two ways differ.
    """
    if planned == "never":
        return planned
    longest = max((row.input_ids for row in rows.take(range(min(len(rows), ROWS_READ)))), key=len)
    with compute(model, compute_dtype):
        reason = verify(model, longest, dtype=compute_dtype, call=call)
    for module in model.modules():
        # The root of a sharded model keeps its weights whole for a backward pass, which does not come.
        if isinstance(module, FSDPModule):
            module.reshard()
    if reason is None:
        return planned
    refuse(recipe, model, reason)
    said(f"Rows are padded instead of sharing prefixes: {type(model).__name__} {reason}")
    return "never"
