"""The model that a recipe heals before anything else happens, tried without being written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from holdfast.heal.apply import Operation, summary
from holdfast.heal.cost import counting
from holdfast.heal.healing import healing_of
from holdfast.models.load import Loaded, load
from holdfast.models.pairs import ModelPair
from holdfast.recipe import Recipe
from holdfast.spectral.cache import FactorCache, default_folder

UNDONE, EDIT, ARTEFACT = "heal_undone", "heal_edit", "heal_artefact"
"""Readings at step 0 of a run that heals; see `holdfast.heal.apply.Summary`."""


class HealedModel(NamedTuple):
    """A healed model in memory.

    Attributes:
        loaded: As `holdfast.models.load.load` returns it; its fingerprint is that of the healed weights.
        readings: What the healing did.
        flops, seconds: What it cost; the base's singular systems only where they were not cached.
    """

    loaded: Loaded
    readings: Mapping[str, float | None]
    flops: float
    seconds: float


def load_healed(recipe: Recipe, *, cache: Path | None = None, allow_code: bool = False) -> HealedModel:
    """Load a recipe's model, healed as its ``heal`` block says.

    Args:
        recipe: With a ``heal`` block.
        cache: Folder of singular systems; that of the user if None.
        allow_code: Whether the healer may be outside code.

    Raises:
        ModelError: the models are no pair, or cannot be loaded.
        UserError: the healing cannot be done.
    """
    assert recipe.heal is not None
    started = time.perf_counter()
    block = dict(recipe.heal)
    pair = ModelPair(block.pop("toward"), recipe.model_name_or_path)
    with counting() as counter:
        operation = Operation(
            pair, healing_of(block, allow_code=allow_code), cache=FactorCache(cache or default_folder())
        )
        effects, tensors = [], {}
        for healed in operation.tensors():
            effects.append(healed.effect)
            tensors[healed.entry.name] = healed.tensor
    seconds = time.perf_counter() - started
    told = summary(effects)
    loaded = load(
        recipe.model_name_or_path,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        revision=recipe.model_revision,
        tensors=tensors,
    )
    readings = {UNDONE: told.undone, EDIT: told.edit, ARTEFACT: told.artefact}
    return HealedModel(loaded, readings, float(counter.get_total_flops()), seconds)
