"""What the model would say next at every place of a given answer: one forward pass, nothing generated.

Position t of an answer is judged with the *given* tokens before it, right or wrong, as in training (teacher forcing).
A row is answered correctly, token for token, exactly where the greedy answer would be the given one.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``H`` hidden width, ``N`` learned tokens of the batch, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.data.batches import Batch, SharePrefixes, collate
from holdfast.data.encode import Encoded
from holdfast.data.pictures import tokenizer_of
from holdfast.data.prefixes import Prefixes, pays, shared_prefixes
from holdfast.errors import DataError
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.models.ranks import ALONE, Ranks
from holdfast.models.shareable import refusal
from holdfast.models.shared_prefix import KEYS, Layout, sharing
from holdfast.objectives.chunks import rows_per_chunk
from holdfast.objectives.head import OutputHead
from holdfast.objectives.targets import counted_targets
from holdfast.rollout.generate import positions


class _Cut(NamedTuple):
    """Places of the rows of one batch, and what they share."""

    places: Sequence[int]
    prefixes: Prefixes | None = None


def argmax_replies(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Encoded],
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    share: SharePrefixes = "auto",
    ranks: Ranks = ALONE,
) -> list[list[int]]:
    """Return, for each row, the likeliest token at every place of its answer, given all tokens before that place.

    The result of a row has ``row.n_learned`` tokens and, in float32, depends on neither batch size nor neighbors (a
    token changes only where two candidates are within rounding, about 1e-6). The model's modes are left as they were.

    Args:
        model: A causal language model of Transformers, on any device.
        tokenizer: Its tokenizer, or its processor; only the padding token is read.
        rows: Prompt and answer in tokens.
        batch_size: Rows of one forward pass.
        compute_dtype: See `holdfast.models.compute.compute`.
        share: Whether rows that begin alike compute that beginning once: ``auto`` where it pays and is exact.
        ranks: Share the batches, as in `holdfast.rollout.generate.generate`.

    Raises:
        DataError: a row has no prompt, or more tokens than the model positions.
        UserError: ``share`` is ``always``, and the model cannot share prefixes exactly.
    """
    _refuse(rows, positions(model))
    head = OutputHead(model)
    pad = tokenizer_of(tokenizer).pad_token_id or 0
    device = next(model.parameters()).device
    replies: list[list[int]] = [[] for _ in rows]
    with evaluating(model), torch.no_grad():
        batches = _batches(rows, batch_size, share)
        if any(cut.prefixes is not None for cut in batches):
            longest = max((row.input_ids for row in rows), key=len)
            reason = refusal(model, longest, dtype=compute_dtype, insisted=share == "always")
            batches = batches if reason is None else _batches(rows, batch_size, "never")

        def said(cut: _Cut) -> list[int]:
            batch = collate([rows[place] for place in cut.places], pad_token_id=pad)
            with compute(model, compute_dtype):
                tokens: list[int] = _argmax(model, head, replace(batch, prefixes=cut.prefixes).to(device)).tolist()
            return tokens

        for cut, said_N in zip(batches, ranks.dealt(batches, said), strict=True):
            for place in cut.places:
                said_N, replies[place] = said_N[rows[place].n_learned :], said_N[: rows[place].n_learned]
    return replies


def _batches(rows: Sequence[Encoded], size: int, share: SharePrefixes) -> Sequence[_Cut]:
    """Return the places of the rows of each batch, and what they share; longest first, so that memory fails at once."""
    by_length = sorted(range(len(rows)), key=lambda place: (-len(rows[place].input_ids), place))
    padded = [_Cut(by_length[at : at + size]) for at in range(0, len(rows), size)]
    if share == "never" or any(row.pictures for row in rows):
        return padded
    # Rows that begin alike are neighbors in lexicographic order.
    by_tokens = sorted(range(len(rows)), key=lambda place: (rows[place].input_ids, place))
    cuts = [by_tokens[at : at + size] for at in range(0, len(rows), size)]
    found = [shared_prefixes([rows[place] for place in cut]) for cut in cuts]
    alone = sum(len(cut.places) * len(rows[cut.places[0]].input_ids) for cut in padded)
    computed = sum(prefixes.computed for prefixes in found)
    if share == "auto" and not pays(padded=alone, computed=computed, batches=len(found)):
        return padded
    pairs = sorted(zip(cuts, found, strict=True), key=lambda pair: -pair[1].longest)
    return [_Cut(cut, prefixes) for cut, prefixes in pairs]


def _argmax(model: Any, head: OutputHead, batch: Batch) -> Tensor:
    """Return the likeliest token at every learned place, row after row, shape (N,)."""
    tensors = batch.tensors()
    at_N = counted_targets(tensors).flatten().nonzero()[:, 0]
    inputs = {name: value for name, value in tensors.items() if name not in ("labels", *KEYS)} | {"use_cache": False}
    with sharing(model, Layout.of(tensors)):
        trunk = head.trunk(model, inputs)
    hidden_NH = trunk.hidden_BTH.flatten(0, 1).index_select(0, at_N - 1)
    chunks = torch.split(hidden_NH, rows_per_chunk(head.vocabulary, None))
    return torch.cat([head.transform.apply(head.module(hidden_RH)).argmax(-1) for hidden_RH in chunks])


def _refuse(rows: Sequence[Encoded], limit: int | None) -> None:
    for number, row in enumerate(rows):
        if not row.n_prompt:
            raise DataError(f"row {number} has no prompt: nothing predicts its first token")
        if limit is not None and len(row.input_ids) > limit:
            raise DataError(f"row {number} has {len(row.input_ids)} tokens, and the model {limit} positions")
