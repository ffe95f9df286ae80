"""What the model would say next at every place of a given answer: one forward pass, nothing generated.

Position t of an answer is judged with the *given* tokens before it, right or wrong, as in training (teacher forcing).
A row is answered correctly, token for token, exactly where the greedy answer would be the given one.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``H`` hidden width, ``N`` learned tokens of the batch, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from holdfast.data.batches import Batch, collate
from holdfast.data.encode import Encoded
from holdfast.data.pictures import tokenizer_of
from holdfast.errors import DataError
from holdfast.models.compute import compute
from holdfast.models.ranks import ALONE, Ranks
from holdfast.objectives.chunks import rows_per_chunk
from holdfast.objectives.engine import counted_targets
from holdfast.objectives.head import OutputHead
from holdfast.rollout.generate import positions

Share = Literal["auto", "always", "never"]


def argmax_replies(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Encoded],
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    share: Share = "auto",  # noqa: ARG001
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
        share: Whether rows that begin alike compute that beginning once.
        ranks: Share the batches, as in `holdfast.rollout.generate.generate`.

    Raises:
        DataError: a row has no prompt, or more tokens than the model positions.
    """
    _refuse(rows, positions(model))
    head = OutputHead(model)
    pad = tokenizer_of(tokenizer).pad_token_id or 0
    device = next(model.parameters()).device
    # Longest first, so that a batch that does not fit into memory is met at once; alike lengths pad little.
    places = sorted(range(len(rows)), key=lambda place: (-len(rows[place].input_ids), place))
    replies: list[list[int]] = [[] for _ in rows]
    with _evaluating(model), torch.no_grad():
        batches = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]

        def said(own: Sequence[int]) -> list[int]:
            batch = collate([rows[place] for place in own], pad_token_id=pad).to(device)
            with compute(model, compute_dtype):
                tokens: list[int] = _argmax(model, head, batch).tolist()
            return tokens

        for own, said_N in zip(batches, ranks.dealt(batches, said), strict=True):
            for place in own:
                said_N, replies[place] = said_N[rows[place].n_learned :], said_N[: rows[place].n_learned]
    return replies


def _argmax(model: Any, head: OutputHead, batch: Batch) -> Tensor:
    """Return the likeliest token at every learned place, row after row, shape (N,)."""
    tensors = batch.tensors()
    at_N = counted_targets(tensors).flatten().nonzero()[:, 0]
    inputs = {name: value for name, value in tensors.items() if name != "labels"} | {"use_cache": False}
    hidden_NH = head.trunk(model, inputs).hidden_BTH.flatten(0, 1).index_select(0, at_N - 1)
    chunks = torch.split(hidden_NH, rows_per_chunk(head.vocabulary, None))
    return torch.cat([head.transform.apply(head.module(hidden_RH)).argmax(-1) for hidden_RH in chunks])


def _refuse(rows: Sequence[Encoded], limit: int | None) -> None:
    for number, row in enumerate(rows):
        if not row.n_prompt:
            raise DataError(f"row {number} has no prompt: nothing predicts its first token")
        if limit is not None and len(row.input_ids) > limit:
            raise DataError(f"row {number} has {len(row.input_ids)} tokens, and the model {limit} positions")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
