"""Apply a healer to a pair of models, tensor by tensor: which tensors, how strongly, and what that undoes.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of an edit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from holdfast.errors import ModelError, UserError
from holdfast.heal.arithmetic import Measured, blend, take, together
from holdfast.heal.base import Blend, Edit, Place
from holdfast.heal.healing import Healing
from holdfast.models.compute import STORED
from holdfast.models.pairs import Entry, ModelPair, Pair, same_bits
from holdfast.models.roles import IN_BLOCKS, TOWERS
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
        rounding: ‖W' − what was written‖²; 0 where nothing was written.
    """

    name: str
    role: str | None
    layer: int | None
    energy: float
    undone: float
    edited: float
    rank: int = 0
    rounding: float = 0.0


class Summary(NamedTuple):
    """What a healing does to the whole model.

    Attributes:
        undone: Share of the update that is undone, <W_t − W', D> / ‖D‖²; None where nothing moved.
        edit: ‖W_t − W'‖ / ‖D‖.
        artefact: The part of the edit that undoes nothing, relative to ‖D‖: sqrt(edit² − undone²).
        touched: Tensors that changed.
        tensors: All tensors.
        rounding: ‖W' − what was written‖ / ‖D‖: what the dtype of the files costs.
    """

    undone: float | None
    edit: float | None
    artefact: float | None
    touched: int
    tensors: int
    rounding: float | None = None


class Healed(NamedTuple):
    """A healed tensor, in the dtype of the tuned model's file."""

    entry: Entry
    tensor: Tensor
    effect: Effect


class Part(NamedTuple):
    """One matrix that a healing is asked about: its update, what strength 1 takes back, where the result goes."""

    name: str
    update: Update
    edit: Edit
    into: Tensor


class Operation:
    """A healing on a pair of models.

    Args:
        pair: The base (or another source that is healed towards) and the tuned model.
        healing: What is done.
        cache: Of the base's singular systems.
        device: Where products run; tensors come back to the CPU.

    Attributes:
        chosen: Names of the tensors that the healer is asked about.
        strength: In [0, 1]; found from what is to be undone if the healing says that.

    Raises:
        SelectionError: ``on`` selects nothing.
        UserError: ``undo`` is more than this healer can undo there.
    """

    def __init__(
        self, pair: ModelPair, healing: Healing, *, cache: FactorCache, device: torch.device | str = "cpu"
    ) -> None:
        self.pair, self.healing, self.cache, self.device = pair, healing, cache, torch.device(device)
        self.chosen = frozenset(entry.name for entry in pair.entries if self._concerns(entry))
        if not self.chosen:
            raise UserError("heal: the selection holds no tensor that this healer can work on. Nothing was written.")
        self.strength = healing.strength if healing.undo is None else self._strength_for(healing.undo)

    def effects(self) -> Iterator[Effect]:
        """Yield what the healing does to each tensor, without making it."""
        return (self.measure(self.pair.read(entry)) for entry in self.pair.entries)

    def tensors(self) -> Iterator[Healed]:
        """Yield every tensor of the healed model, one at a time."""
        return (self.heal(self.pair.read(entry)) for entry in self.pair.entries)

    def measure(self, pair: Pair) -> Effect:
        """Return what the healing does to a tensor, without making it.

        Raises:
            ModelError: the tensor holds NaN or infinity.
        """
        return self._worked(pair, self.strength, write=False)

    def heal(self, pair: Pair) -> Healed:
        """Return the healed tensor, made in the tuned one's own memory: there is no third copy.

        Raises:
            ModelError: the tensor holds NaN or infinity.
        """
        effect = self._worked(pair, self.strength, write=True)
        return Healed(pair.entry, pair.tuned, effect)

    def edits(self) -> Iterator[tuple[Entry, list[Part]]]:
        """Yield each tensor that the healing touches, with the edits of its matrices at strength 1."""
        for entry in self.pair.entries:
            if self.share_at(entry) == 0:
                continue
            pair = self.pair.read(entry)
            parts = [] if pair.same else [part for part in self.parts(pair) if not part.edit.nothing]
            if parts:
                yield entry, parts

    def share_at(self, entry: Entry) -> float | None:
        """Return which share of a tensor's D strength 1 takes back, whatever it holds; None if one must look.

        Such a tensor may be worked on in pieces (`heal_piece`).
        """
        healer = self.healing.healer
        if entry.name not in self.chosen:
            return 0.0
        return healer.share_at(self._place(entry)) if isinstance(healer, Blend) else None

    def heal_piece(self, entry: Entry, base_V: Tensor, tuned_V: Tensor, *, share: float) -> Measured:
        """Heal some values of a tensor of which a known share is taken back, in the tuned ones' own memory."""
        if entry.dtype not in STORED:
            return Measured()
        done = blend(base_V, tuned_V, taken=self.strength * share, into=tuned_V)
        _refuse_non_finite(entry.name, done)
        return done

    def parts(self, pair: Pair) -> Iterator[Part]:
        """Yield the matrices of a tensor with their edits, one after the other; a vector or the like as one row."""
        entry = pair.entry
        stack = entry.matrices > 0 and pair.tuned.ndim == 3
        shape = pair.tuned.shape if entry.matrices else (1, -1)
        base, tuned = (t.reshape(shape) for t in (pair.base, pair.tuned))
        for number in range(entry.shape[0] if stack else 1):
            one, other = (base[number], tuned[number]) if stack else (base, tuned)
            there = one.to(self.device)
            update = Update(there, other.to(self.device), factors=partial(self.cache.factors, there))
            name = f"{entry.name}[{number}]" if stack else entry.name
            unmoved = stack and same_bits(one, other)
            yield Part(name, update, Edit() if unmoved else self._edit(update, self._place(entry, name)), other)

    def effect(self, entry: Entry, measured: Iterable[Measured], rank: int = 0) -> Effect:
        """Return what was measured on all pieces or matrices of a tensor."""
        done = together(list(measured))
        return Effect(
            entry.name, entry.role, entry.layer, done.energy, done.undone, done.edited, rank, rounding=done.rounding
        )

    def _worked(self, pair: Pair, strength: float, *, write: bool) -> Effect:
        entry, share = pair.entry, self.share_at(pair.entry)
        if entry.dtype not in STORED or pair.same:
            return self.effect(entry, ())
        if share is not None:
            base, tuned = pair.base.reshape(-1), pair.tuned.view(-1)
            done = blend(base, tuned, taken=strength * share, into=tuned if write else None)
            _refuse_non_finite(entry.name, done)
            return self.effect(entry, (done,))
        measured, rank = [], 0
        for part in self.parts(pair):
            done = take(part.update, part.edit, strength=strength, into=part.into if write else None)
            _refuse_non_finite(part.name, done)
            measured.append(done)
            rank = max(rank, part.edit.rank)
        return self.effect(entry, measured, rank)

    def _edit(self, update: Update, place: Place) -> Edit:
        try:
            return self.healing.healer.edit(update, place)
        except ValueError as fault:
            raise ModelError(f"heal: {place.name}: {fault}") from fault

    def _place(self, entry: Entry, name: str = "") -> Place:
        layer = None if entry.role in TOWERS else entry.layer
        return Place(name or entry.name, entry.role, layer, self.pair.layers)

    def _concerns(self, entry: Entry) -> bool:
        if entry.dtype not in STORED or 0 in entry.shape or entry.lone:
            return False
        matrices = self.healing.healer.scope == "matrices"
        if matrices and not entry.matrices:
            return False
        if self.healing.on is not None:
            return entry.parameter in self._selected
        return not matrices or (entry.role in IN_BLOCKS and entry.layer is not None)

    @cached_property
    def _selected(self) -> frozenset[str]:
        assert self.healing.on is not None
        chosen = select(self.pair.parameters, self.healing.on)
        return frozenset((*chosen.names, *chosen.tied))

    def _strength_for(self, undo: float) -> float:
        effects = [self._worked(self.pair.read(entry), 1.0, write=False) for entry in self.pair.entries]
        most = summary(effects).undone
        if most is None or not undo:
            return 0.0
        if undo > most * (1 + 1e-9):
            raise UserError(
                f"heal: undo: {undo:g} is more than this healer undoes at strength 1 ({most:.4g} of the update). "
                "Ask for less, or for more directions. Nothing was written."
            )
        return min(1.0, undo / most)


def summary(effects: list[Effect]) -> Summary:
    """Return what a healing does to the whole model."""
    energy, undone, edited, rounding = (
        math.fsum(values) for values in zip(*((e.energy, e.undone, e.edited, e.rounding) for e in effects), strict=True)
    )
    touched = sum(effect.edited > 0 for effect in effects)
    if not energy:
        return Summary(None, None, None, touched, len(effects))
    share, edit = undone / energy, math.sqrt(max(0.0, edited) / energy)
    artefact = math.sqrt(max(0.0, edit**2 - share**2))
    return Summary(share, edit, artefact, touched, len(effects), math.sqrt(rounding / energy))


def undone_and_edited(update: Update, edit: Edit) -> tuple[float, float]:
    """Return <E, D> and ‖E‖² of an edit at strength 1."""
    done = take(update, edit, strength=1.0)
    return done.undone, done.edited


def write(update: Update, edit: Edit, strength: float, *, into: Tensor) -> None:
    """Write W_tuned − strength · E into a tensor of the tuned matrix's shape and dtype.

    Strength 0 writes nothing. Where all of D is taken back and nothing else, the result is the base, bit for bit.
    """
    take(update, edit, strength=strength, into=into)


def _refuse_non_finite(name: str, done: Measured) -> None:
    if not math.isfinite(done.energy + done.edited):
        raise ModelError(f"heal: {name} holds NaN or infinity, in the base or in the tuned model: it cannot be healed")
