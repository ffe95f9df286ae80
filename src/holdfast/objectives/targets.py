"""Which tokens of a batch are learned, and which answer each of them belongs to.

Which tokens count. Labels are unshifted, as everywhere in Transformers: the hidden state at t - 1 predicts the label at
t. Position t counts if its label is not -100, neither t nor t - 1 is padding, and t does not begin a packed document
(``position_ids`` 0). So left and right padding agree and the first token of a row is never counted.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``N`` counted tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from holdfast.errors import DataError

IGNORED = -100
"""The label of a token that is not learned."""


def counted_targets(batch: Mapping[str, Tensor]) -> Tensor:
    """Return which labels count, bool (B, T), aligned with ``labels`` (see the head of this file).

    Raises:
        DataError: shapes that do not fit together.
    """
    labels_BT = batch["labels"]
    if labels_BT.dim() != 2 or labels_BT.shape != batch["input_ids"].shape:
        raise DataError(
            f"labels have shape {tuple(labels_BT.shape)} and input_ids {tuple(batch['input_ids'].shape)}; "
            f"both must be (batch, tokens), unshifted"
        )
    counted_BT = labels_BT != IGNORED
    counted_BT[:, :1] = False
    mask = batch.get("attention_mask")
    if mask is not None and mask.dim() == 2:
        if mask.shape != labels_BT.shape:
            raise DataError(f"attention_mask has shape {tuple(mask.shape)}, labels {tuple(labels_BT.shape)}")
        real_BT = mask != 0
        counted_BT[:, 1:] &= real_BT[:, 1:] & real_BT[:, :-1]
    position_ids = batch.get("position_ids")
    if position_ids is not None and position_ids.shape == labels_BT.shape:
        counted_BT &= position_ids != 0
    return counted_BT


def answers(batch: Mapping[str, Tensor], counted_BT: Tensor) -> Tensor:
    """Return the number of the answer that each counted token belongs to, (N,): a row's, or a packed document's."""
    begins_BT = torch.zeros_like(counted_BT)
    begins_BT[:, 0] = True
    position_ids = batch.get("position_ids")
    if position_ids is not None and position_ids.shape == counted_BT.shape:
        begins_BT |= position_ids == 0
    return begins_BT.flatten().cumsum(0)[counted_BT.flatten()] - 1


def means(values_N: Tensor, group_N: Tensor) -> Tensor:
    """Return for each value the mean over its group."""
    _, place_N = torch.unique_consecutive(group_N, return_inverse=True)
    count_N = torch.bincount(place_N)
    sums_N = torch.zeros(len(count_N), dtype=values_N.dtype, device=values_N.device).index_add(0, place_N, values_N)
    means_N: Tensor = (sums_N / count_N)[place_N]
    return means_N
