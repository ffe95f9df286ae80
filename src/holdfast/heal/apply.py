"""Apply a healer to a pair of models, tensor by tensor: which tensors, how strongly, and what that undoes.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of an edit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.heal.base import Edit, Place
from holdfast.heal.healing import Healing
from holdfast.models.compute import STORED
from holdfast.models.pairs import Entry, ModelPair, Pair
from holdfast.models.roles import IN_BLOCKS
from holdfast.selection import select
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.update import Update


class Effect(NamedTuple):
    """What a healing does to one tensor (all matrices of a stack together).

    Attributes:
        name, role, layer: Of the tensor.
        energy: ‖D‖².
        undone: <W_tuned − W', D>, before rounding.
        edited: ‖W_tuned − W'‖².
        rank: Of the edit's part of low rank, at most.
    """

    name: str
    role: str | None
    layer: int | None
    energy: float
    undone: float
    edited: float
    rank: int = 0


class Summary(NamedTuple):
    """What a healing does to the whole model.

    Attributes:
        undone: Share of the update that is undone, <W_t − W', D> / ‖D‖²; None where nothing moved.
        edit: ‖W_t − W'‖ / ‖D‖.
        artefact: The part of the edit that undoes nothing, relative to ‖D‖: sqrt(edit² − undone²).
        touched: Tensors that changed.
        tensors: All tensors.
    """

    undone: float | None
    edit: float | None
    artefact: float | None
    touched: int
    tensors: int


class Healed(NamedTuple):
    """A healed tensor, in the dtype of the tuned model's file."""

    entry: Entry
    tensor: Tensor
    effect: Effect


class Operation:
    """A healing on a pair of models.

    Args:
        pair: The base (or another source that is healed towards) and the tuned model.
        healing: What is done.
        cache: Of the base's singular systems.
        device: Where products run; tensors come back to the CPU.

    Raises:
        SelectionError: ``on`` selects nothing.
        UserError: ``undo`` is more than this healer can undo there.
    """

    def __init__(
        self, pair: ModelPair, healing: Healing, *, cache: FactorCache, device: torch.device | str = "cpu"
    ) -> None:
        self.pair, self.healing, self.cache, self.device = pair, healing, cache, torch.device(device)
        self.chosen = frozenset(entry.name for entry in pair.entries if self._concerns(entry))
        if not any(self.chosen):
            raise UserError("heal: the selection holds no tensor that this healer can work on. Nothing was written.")
        self.strength = healing.strength if healing.undo is None else self._strength_for(healing.undo)

    def effects(self) -> Iterator[Effect]:
        """Yield what the healing does to each tensor, without making it."""
        for entry in self.pair.entries:
            pair = self.pair.read(entry)
            yield self._effect(pair, list(self._parts(pair)), self.strength)

    def tensors(self) -> Iterator[Healed]:
        """Yield every tensor of the healed model, one at a time."""
        for entry in self.pair.entries:
            pair = self.pair.read(entry)
            parts = list(self._parts(pair))
            effect = self._effect(pair, parts, self.strength)
            # In the tuned tensor's own memory: no third copy.
            for part in parts:
                write(part.update, part.edit, self.strength, into=part.into)
            yield Healed(entry, pair.tuned, effect)

    def edits(self) -> Iterator[tuple[Entry, list[Part]]]:
        """Yield each tensor that the healing touches, with the edits of its matrices at strength 1."""
        for entry in self.pair.entries:
            parts = list(self._parts(self.pair.read(entry)))
            if parts:
                yield entry, parts

    def _concerns(self, entry: Entry) -> bool:
        if entry.dtype not in STORED or 0 in entry.shape:
            return False
        matrices = self.healing.healer.scope == "matrices"
        if matrices and not entry.matrices:
            return False
        if self.healing.on is not None:
            return entry.parameter in self._selected
        return not matrices or (entry.role in IN_BLOCKS and entry.layer is not None)

    @property
    def _selected(self) -> frozenset[str]:
        assert self.healing.on is not None
        if "_names" not in vars(self):
            chosen = select(self.pair.parameters, self.healing.on)
            self._names = frozenset((*chosen.names, *chosen.tied))
        return self._names

    def _parts(self, pair: Pair) -> Iterator[Part]:
        entry = pair.entry
        if entry.name not in self.chosen or pair.same:
            return
        flat = self.healing.healer.scope == "everything" and not entry.matrices
        base, tuned = (t.reshape(1, -1) if flat else t for t in (pair.base, pair.tuned))
        stack = tuned.ndim == 3
        for number in range(entry.shape[0] if stack else 1):
            one, other = (base[number], tuned[number]) if stack else (base, tuned)
            if stack and torch.equal(one, other):
                continue
            there = one.to(self.device)
            update = Update(there, other.to(self.device), factors=partial(self.cache.factors, there))
            name = f"{entry.name}[{number}]" if stack else entry.name
            edit = self.healing.healer.edit(update, Place(name, entry.role, entry.layer, self.pair.layers))
            if not edit.nothing:
                yield Part(update, edit, other)

    def _effect(self, pair: Pair, parts: list[Part], strength: float) -> Effect:
        entry = pair.entry
        energy = 0.0 if pair.same or entry.dtype not in STORED else _energy(pair)
        measured = [undone_and_edited(part.update, part.edit) for part in parts]
        return Effect(
            entry.name,
            entry.role,
            entry.layer,
            energy=energy,
            undone=strength * math.fsum(undone for undone, _ in measured),
            edited=strength**2 * math.fsum(edited for _, edited in measured),
            rank=max((part.edit.rank for part in parts), default=0),
        )

    def _strength_for(self, undo: float) -> float:
        self.strength = 1.0
        most = summary(list(self.effects())).undone
        if not most:
            return 0.0
        if undo > most * (1 + 1e-9):
            raise UserError(
                f"heal: undo: {undo:g} is more than this healer undoes at strength 1 ({most:.4g} of the update). "
                "Ask for less, or for more directions. Nothing was written."
            )
        return min(1.0, undo / most)


class Part(NamedTuple):
    """One matrix that a healing touches: its update, the part taken back at strength 1, and where the result goes."""

    update: Update
    edit: Edit
    into: Tensor


def summary(effects: list[Effect]) -> Summary:
    """Return what a healing does to the whole model."""
    energy = math.fsum(effect.energy for effect in effects)
    undone = math.fsum(effect.undone for effect in effects)
    edited = math.fsum(effect.edited for effect in effects)
    touched = sum(effect.edited > 0 for effect in effects)
    if not energy:
        return Summary(None, None, None, touched, len(effects))
    share, edit = undone / energy, math.sqrt(max(0.0, edited) / energy)
    return Summary(share, edit, math.sqrt(max(0.0, edit**2 - share**2)), touched, len(effects))


def undone_and_edited(update: Update, edit: Edit) -> tuple[float, float]:
    """Return <E, D> and ‖E‖² of an edit at strength 1."""
    undone = edited = 0.0
    if edit.share:
        undone += edit.share * update.energy
        edited += edit.share**2 * update.energy
    if edit.left_MK is not None and edit.right_NK is not None:
        left, right = edit.left_MK.double(), edit.right_NK.double()
        low = float((left * update.right(edit.right_NK).double()).sum())
        undone += low
        edited += 2 * edit.share * low + float(((left.T @ left) * (right.T @ right)).sum())
    return undone, edited


def write(update: Update, edit: Edit, strength: float, *, into: Tensor) -> None:
    """Write W_tuned − strength · E into a tensor of the tuned matrix's shape and dtype, slice by slice.

    Strength 0 writes nothing. Where all of D is taken back and nothing else, the result is the base, bit for bit.
    """
    left, right = edit.left_MK, edit.right_NK
    if strength == 0 or edit.nothing:
        return
    kept = 1.0 - strength * edit.share
    for rows in update.rows():
        healed = update.base_MN[rows].to(update.dtype)
        if kept:
            healed = healed + kept * update.difference(rows)
        if left is not None and right is not None:
            healed = healed - strength * (left[rows] @ right.T)
        into[rows] = healed.to(into.dtype).to(into.device)


def _energy(pair: Pair) -> float:
    flat = Update(pair.base.reshape(1, -1), pair.tuned.reshape(1, -1))
    return flat.energy if pair.tuned.ndim < 2 else _by_rows(pair)


def _by_rows(pair: Pair) -> float:
    rows = pair.tuned.shape[-1]
    return Update(pair.base.reshape(-1, rows), pair.tuned.reshape(-1, rows)).energy
