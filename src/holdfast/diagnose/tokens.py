"""The probability of every target token of a recipe's rows, under one model after another.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``N`` target tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.data.batches import Batch, collate
from holdfast.data.pictures import tokenizer_of
from holdfast.data.sources import source_of
from holdfast.errors import DataError
from holdfast.evaluate.suite import rules_in_play
from holdfast.models.compute import compute, dtype_named
from holdfast.models.load import load
from holdfast.models.modes import evaluating
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.recipe import Recipe
from holdfast.report.token_profile import Profile, Targets
from holdfast.rollout.generate import positions


def profile(
    recipe: Recipe, models: Sequence[str], *, rows: int, allow_code: bool = False, said: Callable[[str], None] = print
) -> Profile:
    """Ask each model for the probability of the same target tokens, teacher-forced; one model is in memory at a time.

    Args:
        recipe: Its ``data`` says which rows, its ``model_name_or_path`` which tokenizer encodes them.
        models: Names or folders, the base first.
        rows: How many training rows are asked at most, evenly spaced over all.
        allow_code: Whether the recipe may name outside code.
        said: Hears of each model.

    Raises:
        DataError: a model was not trained with this tokenizer, or rows cannot be encoded.
        ModelNotFound, ModelError: a model cannot be loaded.
    """
    batches: list[Batch] = []
    targets: Targets | None = None
    found: dict[str, NDArray[np.float64]] = {}
    for name in models:
        loaded = load(name, dtype=recipe.dtype, attn_implementation=recipe.attn_implementation)
        if targets is None:
            source = source_of(
                recipe.data,
                rules=rules_in_play(recipe),
                tokenizer=loaded.speaker,
                max_length=recipe.max_length or positions(loaded.model),
                allow_code=allow_code,
            )
            count = min(rows, len(source))
            chosen = source.take([place * len(source) // count for place in range(count)])
            size = recipe.per_device_train_batch_size
            batches = [collate(chosen[at : at + size], pad_token_id=0) for at in range(0, count, size)]
            ids = [list(row.input_ids[row.n_prompt :]) for row in chosen]
            tokenizer = tokenizer_of(loaded.speaker)
            texts = [tokenizer.decode([token]) for answer in ids for token in answer]
            special = set(tokenizer.all_special_ids)
            targets = Targets(
                texts=tuple(texts),
                special=tuple(token in special for answer in ids for token in answer),
                rows=tuple(str(number) for number, answer in enumerate(ids) for _ in answer),
            )
            vocabulary = tokenizer.get_vocab()
        elif tokenizer_of(loaded.speaker).get_vocab() != vocabulary:
            raise DataError(f"{name} has another vocabulary than {models[0]}: tokens cannot be compared one by one")
        said(f"{name}: {len(targets.texts):,} target tokens of {count:,} rows")
        found[name] = _probabilities(loaded.model, batches, dtype=recipe.compute_dtype)
    if targets is None:
        raise DataError("no model was named")
    return Profile(targets, found)


def _probabilities(model: torch.nn.Module, batches: Sequence[Batch], *, dtype: str) -> NDArray[np.float64]:
    engine = Engine(model, NLL())
    stored = next(model.parameters()).dtype
    parts = []
    with evaluating(model), torch.no_grad(), compute(model, stored if dtype == "auto" else dtype_named(dtype)):
        for batch in batches:
            told = engine.logp(batch.to(next(model.parameters()).device).tensors())
            parts.append(told.logp_BT[told.counted_BT].double().exp().cpu().numpy())
    return np.concatenate(parts)
