"""Rows that begin alike compute their common beginning once, exactly, inside one ordinary call of the model.

While `sharing` is active, the model's decoder computes two passes instead of one: first the distinct *prefixes*, with a
cache; then the *branches*, each row's own last tokens, which attend to their prefix's keys and values. These carry
gradients, so what the branches ask of a prefix flows back through it, summed over the rows. Everything around the
decoder (output head, adapters, data-parallel wrappers, compute casts) sees one call on the padded batch, and hidden
states of its shape: those of shared positions are 0, and no loss may stand there.

Why it is exact for sliding windows too: each row's keys are laid out so that its prefix *ends* where its branch begins.
The distance of two tokens in the cache is then their distance in the row, whatever the depth at which the row branches
off, and masks made from places in the cache are right. Positions are given explicitly.

Shapes: ``B`` rows, ``T`` tokens of the longest row, ``G`` prefixes, ``P`` tokens of the longest prefix, ``S`` tokens of
the longest branch, ``K`` = P + S, ``A`` heads of keys and values, ``D`` width of a head, ``H`` hidden width.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import DynamicCache, PreTrainedModel

from holdfast.errors import ModelError

KEYS = ("prefix_of_row", "prefix_length")
"""What a batch that is to be shared holds beside its padded tensors: (B,) int64 each, on the CPU, for they say shapes.
Row b begins with the first ``prefix_length[b]`` tokens of row ``prefix_of_row[b]`` and shares their computation."""


@dataclass(frozen=True)
class Layout:
    """Which tokens the two passes compute.

    Attributes:
        prefix_row_G: Row of the batch that each prefix begins.
        prefix_B: Index into the prefixes of each row's own.
        length_B: Tokens of it that the row shares.
        branch_B: Tokens that the row computes itself.
    """

    prefix_row_G: Tensor
    prefix_B: Tensor
    length_B: Tensor
    branch_B: Tensor

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> Layout | None:
        """Return the layout of a batch with `KEYS`; None for one without."""
        if KEYS[0] not in batch:
            return None
        of_row_B, length_B = (batch[key].cpu() for key in KEYS)
        mask_BT = batch["attention_mask"]
        leaders = sorted({row for row, length in zip(of_row_B.tolist(), length_B.tolist(), strict=True) if length})
        # Sharded processes must all take two passes, so there is always a prefix, if only one that nobody reads.
        leaders = leaders or [0]
        places = {row: place for place, row in enumerate(leaders)}
        prefix_B = torch.tensor([places.get(row, 0) for row in of_row_B.tolist()])
        return cls(torch.tensor(leaders), prefix_B, length_B, mask_BT.sum(1).cpu() - length_B)

    @property
    def prefixes(self) -> tuple[int, int]:
        """(G, P), the shape of the first pass."""
        return len(self.prefix_row_G), max(1, int(self.length_B.max()))

    @property
    def branches(self) -> tuple[int, int]:
        """(B, S), the shape of the second pass."""
        return len(self.length_B), int(self.branch_B.max())

    @property
    def computed(self) -> int:
        """Positions that both passes compute, padding included."""
        (g, p), (b, s) = self.prefixes, self.branches
        return g * p + b * s


def learns_prefix(batch: Mapping[str, Tensor], counted_BT: Tensor) -> bool:
    """Whether a counted target is predicted at a shared position, where no hidden state is computed for its row."""
    if KEYS[0] not in batch:
        return False
    place_T = torch.arange(counted_BT.shape[1], device=counted_BT.device)
    return bool((counted_BT & (place_T <= batch[KEYS[1]].to(place_T.device)[:, None]) & (place_T > 0)).any())


@contextmanager
def sharing(model: nn.Module, layout: Layout | None) -> Iterator[list[DynamicCache]]:
    """Inside, a call of ``model`` on the padded batch that ``layout`` describes computes each prefix once.

    Yields a list that then holds the keys and values of all rows, (B, A, K, D) in each block: row b's stand in places
    P - length_b to P + branch_b.

    Args:
        model: A decoder-only language model of Transformers, adapters included; a data-parallel wrapper around it may
            be what is called. `why_not` tells whether this is right for it.
        layout: None changes nothing.

    Raises:
        ModelError: the model's decoder cannot be found, or is called in a way that two passes do not know.
    """
    kept: list[DynamicCache] = []
    if layout is None:
        yield kept
        return
    decoder = decoder_of(model)
    own = vars(decoder).get("forward")
    decoder.forward = _TwoPasses(decoder, decoder.forward, layout, kept)
    try:
        yield kept
        if not kept:
            raise ModelError(f"{type(model).__name__} does not call its {type(decoder).__name__} as a whole")
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own


def decoder_of(model: nn.Module) -> nn.Module:
    """Return the module that turns tokens into hidden states: what the language model calls before its output head.

    Raises:
        ModelError: there is no language model of Transformers in ``model``, or it has no such part.
    """
    language_model = next((m for m in model.modules() if isinstance(m, PreTrainedModel)), None)
    decoder = None if language_model is None else language_model.base_model
    if decoder is language_model and language_model is not None:
        decoder = language_model.get_decoder()
    if decoder is None or decoder is language_model:
        raise ModelError(f"{type(model).__name__} has no decoder of its own under its output head")
    assert isinstance(decoder, nn.Module)
    return decoder


@dataclass(frozen=True)
class _TwoPasses:
    """Stands in for a decoder's ``forward``."""

    decoder: nn.Module
    forward: Any
    layout: Layout
    kept: list[DynamicCache]

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> Any:
        given = {name: value for name, value in others.items() if value is not None and name != "use_cache"}
        strange = [name for name, value in given.items() if name == "past_key_values" or isinstance(value, Tensor)]
        if input_ids is None or attention_mask is None or strange:
            raise ModelError(
                f"{type(self.decoder).__name__}: prefixes are shared between plain rows of tokens with their mask; it "
                f"was given {', '.join(strange) or 'no such rows'}"
            )
        ids_GP, branch = self._parts(input_ids)
        cache = DynamicCache()
        # Padding on the right needs no mask: no token attends to what comes after it.
        with _gathering_again(self.decoder, cache):
            self.forward(input_ids=ids_GP, past_key_values=cache, use_cache=True, **given)
        self.kept.append(self._spread(cache, input_ids.device))
        outputs = self.forward(
            input_ids=branch.ids_BS,
            attention_mask=branch.mask_BK,
            position_ids=branch.positions_BS,
            past_key_values=self.kept[-1],
            use_cache=True,
            **given,
        )
        hidden_BSH = outputs.last_hidden_state
        hidden_NH = hidden_BSH.flatten(0, 1).index_select(0, branch.from_N)
        shape = (*input_ids.shape, hidden_BSH.shape[-1])
        empty = hidden_BSH.new_zeros(input_ids.numel(), shape[-1])
        outputs.last_hidden_state = empty.index_copy(0, branch.to_N, hidden_NH).view(shape)
        outputs.past_key_values = None
        return outputs

    def _parts(self, ids_BT: Tensor) -> tuple[Tensor, _Branch]:
        layout, device = self.layout, ids_BT.device
        (_, p), (b, s) = layout.prefixes, layout.branches
        prefix_row_G, length_B1, branch_B1 = (
            x.to(device) for x in (layout.prefix_row_G, layout.length_B[:, None], layout.branch_B[:, None])
        )
        ids_GP = ids_BT.index_select(0, prefix_row_G)[:, :p]
        step_S = torch.arange(s, device=device)
        # Beyond a row's end its last place is repeated: tables of positions have no further one.
        positions_BS = length_B1 + torch.minimum(step_S, branch_B1 - 1)
        real_BS = step_S < branch_B1
        prefix_BP = torch.arange(p, device=device) >= p - length_B1
        row_B1 = torch.arange(b, device=device)[:, None]
        return ids_GP, _Branch(
            ids_BS=ids_BT.gather(1, positions_BS),
            mask_BK=torch.cat([prefix_BP, real_BS], dim=1).to(torch.int64),
            positions_BS=positions_BS,
            from_N=(row_B1 * s + step_S)[real_BS],
            to_N=(row_B1 * ids_BT.shape[1] + positions_BS)[real_BS],
        )

    def _spread(self, cache: DynamicCache, device: torch.device) -> DynamicCache:
        """Return a cache of B rows, each with the keys and values of its prefix, which ends at the last place."""
        layout = self.layout
        _, p = layout.prefixes
        shift_B1 = layout.length_B[:, None] - p
        place_BP = None
        if bool(shift_B1.any()):
            place_BP = ((torch.arange(p) + shift_B1).clamp(min=0) + layout.prefix_B[:, None] * p).to(device)
        prefix_B = layout.prefix_B.to(device)
        spread = DynamicCache()
        for number, layer in enumerate(cache.layers):
            if not layer.is_initialized:  # a block that attends to another sequence, absent here
                continue
            if layer.get_seq_length() != p:
                raise ModelError(
                    f"{type(self.decoder).__name__}: block {number} kept {layer.get_seq_length()} of {p} tokens in its "
                    f"cache"
                )
            spread.update(*(_rows(x, prefix_B, place_BP) for x in (layer.keys, layer.values)), number)
        return spread


@dataclass(frozen=True)
class _Branch:
    """Inputs of the second pass, and where its real tokens stand: ``from_N`` in (B, S), ``to_N`` in (B, T)."""

    ids_BS: Tensor
    mask_BK: Tensor
    positions_BS: Tensor
    from_N: Tensor
    to_N: Tensor


@contextmanager
def _gathering_again(decoder: nn.Module, cache: DynamicCache) -> Iterator[None]:
    """Make a sharded block whole before a gradient enters it through its keys and values.

    FSDP gathers a block's weights for backward when a gradient reaches what the block *returned*. Keys and values leave
    it by the cache, and of the last block nothing else is used.
    """
    known = 0

    def watch(unit: nn.Module, *_: Any) -> None:
        nonlocal known
        assert isinstance(unit, FSDPModule)
        for layer in cache.layers[known:]:
            for states in (layer.keys, layer.values):
                if isinstance(states, Tensor) and states.requires_grad:
                    states.register_hook(functools.partial(_gather, unit))  # type: ignore[no-untyped-call]
        known = len(cache.layers)

    units = [module for module in decoder.modules() if isinstance(module, FSDPModule)]
    handles = [unit.register_forward_hook(watch) for unit in units]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _gather(unit: FSDPModule, _gradient: Tensor) -> None:
    unit.unshard()


def _rows(states_GAPD: Tensor, prefix_B: Tensor, place_BP: Tensor | None) -> Tensor:
    """Return each row's keys or values, (B, A, P, D): all of prefix ``prefix_B``, or places of the flat (G, P)."""
    g, a, p, d = states_GAPD.shape
    if place_BP is None:
        return states_GAPD.expand(len(prefix_B), a, p, d) if g == 1 else states_GAPD.index_select(0, prefix_B)
    flat = states_GAPD.transpose(1, 2).flatten(2).flatten(0, 1)
    return flat.index_select(0, place_BP.flatten()).view(len(prefix_B), p, a, d).transpose(1, 2)
