"""Keys and values of prompts that begin alike, for a generation that then goes on as always.

Shapes: ``B`` rows, ``T`` tokens of the longest, ``A`` heads of keys and values, ``K`` places of the shared cache, ``D``
width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from holdfast.models.shareable import hidden_states
from holdfast.models.shared_prefix import Layout, sharing


@torch.no_grad()
def prefilled(model: Any, batch: dict[str, Tensor]) -> DynamicCache:
    """Compute what all rows begin with once, and return a cache as ``generate`` fills it from rows padded on the left.

    Args:
        model: One that may share prefixes (`holdfast.models.shareable`), in eval mode.
        batch: Right-padded ``input_ids`` and ``attention_mask``, (B, T), and the keys of
            `holdfast.models.shared_prefix`.
    """
    layout = Layout.of(batch)
    assert layout is not None
    with sharing(model, layout) as kept:
        hidden_states(model, model, {name: batch[name] for name in ("input_ids", "attention_mask")})
    device, width = batch["input_ids"].device, batch["input_ids"].shape[1]
    end_B1 = (layout.prefixes[1] + layout.branch_B[:, None]).to(device)
    place_BT = (torch.arange(width, device=device) - width + end_B1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    for number, layer in enumerate(kept[0].layers):
        if layer.is_initialized:
            cache.update(_taken(layer.keys, place_BT), _taken(layer.values, place_BT), number)
    return cache


def _taken(states_BAKD: Tensor, place_BT: Tensor) -> Tensor:
    """Return (B, A, T, D): of each row the states at its places."""
    b, a, k, d = states_BAKD.shape
    row_B1 = torch.arange(b, device=place_BT.device)[:, None] * k
    flat = states_BAKD.transpose(1, 2).flatten(2).flatten(0, 1)
    return flat.index_select(0, (row_B1 + place_BT).flatten()).view(b, -1, a, d).transpose(1, 2)
