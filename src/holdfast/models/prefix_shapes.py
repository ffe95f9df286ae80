"""The two passes of `holdfast.models.shared_prefix` on shapes alone, for counting what they cost."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from holdfast.models.shared_prefix import decoder_of


def reaching_cache(model: nn.Module, length: int) -> set[int]:
    """Return the storages of the parameters that keys and values depend on, of those that need gradients."""
    cache = DynamicCache()
    decoder_of(model)(input_ids=torch.zeros(1, length, dtype=torch.long), past_key_values=cache, use_cache=True)
    states = [x for layer in cache.layers for x in (layer.keys, layer.values) if isinstance(x, Tensor)]
    todo, seen, reached = [x.grad_fn for x in states if x.grad_fn is not None], set(), set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name().endswith("AccumulateGrad"):
            reached.add(node.variable.untyped_storage()._cdata)  # type: ignore[attr-defined]
        todo += [source for source, _ in node.next_functions if source is not None]
    return reached


def run_two_passes(
    model: nn.Module, lengths: tuple[int, int], prefix: AbstractContextManager[Any], branch: AbstractContextManager[Any]
) -> None:
    """Run the decoder on one prefix inside ``prefix``, then on one branch of it inside ``branch``; (P, S) tokens."""
    decoder, cache, (p, s) = decoder_of(model), DynamicCache(), lengths
    with prefix:
        decoder(input_ids=torch.zeros(1, p, dtype=torch.long), past_key_values=cache, use_cache=True)
    with branch:
        decoder(
            input_ids=torch.zeros(1, s, dtype=torch.long),
            attention_mask=torch.ones(1, p + s, dtype=torch.long),
            position_ids=torch.arange(p, p + s)[None],
            past_key_values=cache,
            use_cache=True,
        )
