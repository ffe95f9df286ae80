"""The log-odds of a target under every mask of a prompt's words, with what masks have in common computed once.

The output of one mask is, summed over the target's tokens y, teacher-forced::

    v = Σ log( p(y) / (1 − p(y)) ) = Σ ( z_y − logsumexp over k ≠ y of z_k )

in the second form: 1 − p is never made, so that nothing saturates however sure the model is. The model computes in
float32 unless told otherwise, the last sum runs in float64.

Masks that agree on the first k players agree on all tokens before player k+1, and a causal model computes the same
there. So all 2^n masks are the leaves of a tree: each level reads the tokens from one player up to the next, for twice
as many rows as the level above, from the keys and values of that level. ::

    tokens = before the first player + Σ over k = 1…n of 2^k · (tokens from player k up to the next)

The result is that of 2^n whole rows up to rounding. A model that keeps more than keys and values, or whose positions
turn with length, is asked in whole rows instead (`holdfast.models.shareable`).

Shapes: ``B`` rows, ``T`` tokens of a call, ``K`` tokens so far, ``H`` hidden width, ``R`` rows of logits, ``V``
vocabulary, ``M`` = 2^n masks, ``n`` players.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from holdfast.errors import DataError
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.models.shareable import refusal
from holdfast.objectives.head import OutputHead
from holdfast.probes.interactions.game import Game, Span
from holdfast.probes.interactions.masking import Blank, Cover, covering
from holdfast.probes.interactions.transforms import MOST_PLAYERS, Array
from holdfast.rollout.generate import positions

ROWS = 512
"""Rows of one call at most; a level that is wider is computed in parts, so memory does not grow with 2^n."""

LOGITS = 1 << 23
"""Logits that are in memory at a time, in float64: 64 MB."""

Masks = NDArray[np.bool_]
"""(B, n): whether each player is there."""


def log_odds(logits_BV: Tensor, target: int) -> Tensor:
    """Return log(p / (1 − p)) of one token, (B,), in float64.

    Args:
        logits_BV: Of any dtype.
        target: Number of the token.
    """
    others_BV = logits_BV.double().clone()
    own_B = others_BV[:, target].clone()
    others_BV[:, target] = -torch.inf
    return own_B - others_BV.logsumexp(dim=1)


def shared_tokens(game: Game) -> int:
    """Return how many tokens the tree computes."""
    starts = [span.start for span in game.players]
    ends = [*starts[1:], len(game.ids)]
    return starts[0] + sum((end - start) << (k + 1) for k, (start, end) in enumerate(zip(starts, ends, strict=True)))


def naive_tokens(game: Game) -> int:
    """Return how many tokens whole rows have."""
    return len(game.ids) * game.masks


class Outputs(NamedTuple):
    """Of one game.

    Attributes:
        values_M: v of every mask, float64; bit i of the place says whether player i is there.
        tokens: Tokens that the model read.
    """

    values_M: Array
    tokens: int


@contextmanager
def reading(
    model: Any,
    blank: Blank,
    games: Sequence[Game],
    *,
    dtype: torch.dtype = torch.float32,
    share: bool = True,
    rows: int = ROWS,
) -> Iterator[Reader]:
    """Inside, the yielded reader asks the model; it is in eval mode, in ``dtype``, and afterwards as it was.

    Args:
        model: A causal language model of Transformers, on any device.
        blank: What stands in the place of masked words.
        games: All that will be asked.
        dtype: In which the model computes. Noise of half precision grows by 2^(n/2) on its way into interactions.
        share: Whether masks share what they have in common, if the model proves exact.
        rows: Rows of one call at most.

    Raises:
        DataError: a game has no player, too many, more tokens than the model has positions, or masks its first token
            under ``attention``.
    """
    _refuse(model, blank, games)
    longest = max((game.ids for game in games), key=len, default=())
    shares = share and bool(longest) and refusal(model, longest, dtype=dtype, insisted=False) is None
    with evaluating(model), compute(model, dtype), covering(model, blank.vector_H) as cover:
        yield Reader(model, OutputHead(model), cover, blank, shares, max(2, rows))


@dataclass(frozen=True)
class Reader:
    """Asks a model for outputs; made by `reading`.

    Attributes:
        shares: Whether masks share what they have in common.
    """

    model: Any
    head: OutputHead = field(repr=False)
    cover: Cover = field(repr=False)
    blank: Blank
    shares: bool
    rows: int

    def all_masks(self, game: Game) -> Outputs:
        """Return the output of every mask."""
        n = len(game.players)
        if not self.shares:
            every = (np.arange(game.masks)[:, None] >> np.arange(n)) & 1 == 1
            return Outputs(self.whole_rows(game, every), naive_tokens(game))
        with torch.no_grad():
            trunk = _Branch(torch.zeros(1, 0, dtype=torch.bool, device=self.device), None, None)
            values_M = self._below(game, trunk, 0)
        # The first player's choice turns slowest in the tree, and is the lowest bit of a mask.
        ordered = values_M.cpu().numpy().reshape((2,) * n).transpose(range(n - 1, -1, -1)).reshape(-1)
        return Outputs(ordered, shared_tokens(game))

    def whole_rows(self, game: Game, masks: Masks, *, at_once: int | None = None) -> Array:
        """Return the output of each given mask, (B,), every one computed from its first token.

        Args:
            game: Of any players.
            masks: Which players are there.
            at_once: Rows of one call.
        """
        size = at_once or self.rows
        with torch.no_grad():
            parts = [self.of_rows(game, masks[at : at + size]) for at in range(0, len(masks), size)]
        return torch.cat(parts).cpu().numpy()

    def of_rows(self, game: Game, masks: Masks) -> Tensor:
        """Return the output of each given mask in one call, (B,), on the device, with gradients where they are on."""
        covered_BT = _covered(game, masks).to(self.device)
        ids_BT = torch.tensor(game.ids, device=self.device).expand(len(masks), -1)
        return self._read(game, self._call(ids_BT, covered_BT, None, covered_BT))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    def _below(self, game: Game, branch: _Branch, level: int) -> Tensor:
        """Return the outputs of all leaves below some rows of a level, in the tree's order."""
        if level == len(game.players):
            assert branch.hidden_BTH is not None
            return self._read(game, branch.hidden_BTH)
        half = len(branch.covered_BK)
        if 2 * half > self.rows and half > 1:
            places = torch.arange(half, device=self.device).chunk(-(-2 * half // self.rows))
            return torch.cat([self._below(game, branch.taken(some), level) for some in places])
        start = game.players[level].start
        end = game.players[level + 1].start if level + 1 < len(game.players) else len(game.ids)
        if branch.cache is None and start:
            branch = self._grown(game, branch, Span(0, start), None)
        masked_T = torch.zeros(end - start, dtype=torch.bool, device=self.device)
        masked_T[: game.players[level].end - start] = True
        twice = branch.taken(torch.arange(half, device=self.device).repeat_interleave(2))
        own_BT = torch.stack([masked_T, torch.zeros_like(masked_T)]).repeat(half, 1)
        return self._below(game, self._grown(game, twice, Span(start, end), own_BT), level + 1)

    def _grown(self, game: Game, branch: _Branch, span: Span, masked_BT: Tensor | None) -> _Branch:
        count = len(branch.covered_BK)
        ids_BT = torch.tensor(game.ids[span.start : span.end], device=self.device).expand(count, -1)
        if masked_BT is None:
            masked_BT = torch.zeros(count, span.end - span.start, dtype=torch.bool, device=self.device)
        covered_BK = torch.cat([branch.covered_BK, masked_BT], dim=1)
        cache = DynamicCache() if branch.cache is None else branch.cache
        hidden_BTH = self._call(ids_BT, masked_BT, cache, covered_BK)
        return _Branch(covered_BK, cache, hidden_BTH)

    def _call(self, ids_BT: Tensor, masked_BT: Tensor, cache: DynamicCache | None, covered_BK: Tensor) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": ids_BT, "use_cache": cache is not None}
        if cache is not None:
            inputs["past_key_values"] = cache
        if self.blank.masking == "attention":
            length, width = covered_BK.shape[1], ids_BT.shape[1]
            inputs["attention_mask"] = (~covered_BK).long()
            inputs["position_ids"] = torch.arange(length - width, length, device=self.device).expand(len(ids_BT), -1)
        self.cover.where_BT = masked_BT
        try:
            return self.head.trunk(self.model, inputs).hidden_BTH
        finally:
            self.cover.where_BT = None

    def _read(self, game: Game, hidden_BTH: Tensor) -> Tensor:
        """Sum the log-odds of the target's tokens, which the last places foretell."""
        count = len(game.target_ids)
        total_B = torch.zeros(len(hidden_BTH), dtype=torch.float64, device=hidden_BTH.device)
        for place, target in zip(range(-count, 0), game.target_ids, strict=True):
            chunks = torch.split(hidden_BTH[:, place], max(1, LOGITS // self.head.vocabulary))
            odds = [log_odds(self.head.transform.apply(self.head.module(chunk_RH)), target) for chunk_RH in chunks]
            total_B = total_B + torch.cat(odds)
        return total_B


class _Branch(NamedTuple):
    """Rows of one level: what is masked of the tokens so far, their keys and values, and the last call's result."""

    covered_BK: Tensor
    cache: DynamicCache | None
    hidden_BTH: Tensor | None

    def taken(self, rows_B: Tensor) -> _Branch:
        """Return some rows, with a cache of their own."""
        cache = None
        if self.cache is not None:
            cache = DynamicCache()
            for number, layer in enumerate(self.cache.layers):
                if layer.is_initialized:
                    cache.update(layer.keys.index_select(0, rows_B), layer.values.index_select(0, rows_B), number)
        return _Branch(self.covered_BK.index_select(0, rows_B), cache, None)


def _covered(game: Game, masks: Masks) -> Tensor:
    covered_BT = torch.zeros(len(masks), len(game.ids), dtype=torch.bool)
    for player, span in enumerate(game.players):
        covered_BT[:, span.start : span.end] = torch.from_numpy(~masks[:, player])[:, None]
    return covered_BT


def _refuse(model: Any, blank: Blank, games: Sequence[Game]) -> None:
    limit = positions(model)
    for game in games:
        name = game.question.key
        if not 1 <= len(game.players) <= MOST_PLAYERS:
            raise DataError(f"{name} has {len(game.players)} players; there may be 1 to {MOST_PLAYERS}")
        if limit is not None and len(game.ids) > limit:
            raise DataError(f"{name} has {len(game.ids)} tokens, and the model {limit} positions")
        if blank.masking == "attention" and game.players[0].start == 0:
            raise DataError(f"{name}: its first token plays, and without it the first place would attend to nothing")
