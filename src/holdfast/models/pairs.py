"""A base and what was tuned from it, tensor by tensor from their files: nothing is loaded as a model.

Both are safetensors folders in any number of shards. Tensors come in pairs under the names of the files, each with the
role and the block of the parameter that it is (or is a part of). What cannot be a pair is refused before anything is
read: another set of names, other shapes, packed weights that differ, models that have nothing to do with each other.
A tensor that the files hold under two names is one entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from holdfast.errors import ModelError
from holdfast.models.compute import STORED
from holdfast.models.file_form import by_leaf, nearest, roles_in_files
from holdfast.models.load import fetch
from holdfast.models.roles import STACKED, TOWERS, ParameterRole, Role
from holdfast.models.skeleton import skeleton
from holdfast.models.tensors import TensorFolder

LEAST_COSINE = 0.9
"""Of base and tuned weights. Two models that share nothing but their shape have about 0; fine-tuning at rates that
destroy a model leaves 0.95."""
LOOKED_AT = 8
"""Matrices that are compared before work begins."""
LOOKED_AT_VALUES = 4_000_000
"""Values of each of them at most."""
SHOWN = 3


@dataclass(frozen=True)
class Entry:
    """A tensor of the tuned model that the base has too.

    Attributes:
        name: In the tuned model's files; of a tied tensor that they hold twice, one of its names.
        base_name: In the base's files; another one where only one of them writes a tied tensor twice.
        parameter: Name of the live model's parameter that it is, or is a part of.
        role, layer: Of that parameter; None where the model does not know the tensor.
        tied_roles: Further roles of it (an embedding that is also the head).
        shape, dtype: In the tuned model's files.
        inputs_first: Whether rows are inputs, as in GPT-2's Conv1D, where a linear layer's are outputs.
        lone: Whether the base lacks it, which is no parameter then (a buffer, say): it counts as unmoved.
    """

    name: str
    base_name: str
    parameter: str
    role: Role | None
    layer: int | None
    tied_roles: tuple[Role, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    inputs_first: bool = False
    lone: bool = False

    @property
    def matrices(self) -> int:
        """How many matrices it is: 1, the experts of a stack, 0 for biases, vectors, convolutions, packed weights."""
        if self.dtype not in STORED or 0 in self.shape or self.lone or self.name.endswith("bias"):
            return 0
        if len(self.shape) == 2:
            return int(min(self.shape) > 1)
        return self.shape[0] if len(self.shape) == 3 and self.role in STACKED and min(self.shape[1:]) > 1 else 0

    @property
    def n_values(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)


class Pair(NamedTuple):
    """Both values of a tensor, in the dtypes of their files."""

    entry: Entry
    base: Tensor
    tuned: Tensor

    @property
    def same(self) -> bool:
        """Whether they are bit-identical, so that there is nothing to measure or to heal."""
        return same_bits(self.base, self.tuned)


class ModelPair:
    """A base and a model that was tuned from it. Opening reads headers, and compares a few matrices.

    Args:
        base: A shipped base, a folder or a hub id.
        tuned: The same; its config says the structure.

    Raises:
        ModelNotFound, UnknownRole: see `holdfast.models.load.load`.
        ModelError: names, shapes or packed weights differ, or the models are unrelated. Says what to look at.

    Attributes:
        base, tuned: The folders.
        entries: All tensors of the tuned model, in order of name.
        tied: Further names under which the tuned model's files hold a tensor, and the name of its entry.
        base_files, tuned_files: Their weights.
        parameters: The roles of the tuned model's parameters, for `holdfast.selection.select`.
        config: Its configuration.
    """

    def __init__(self, base: str, tuned: str) -> None:
        self.base, self.tuned = fetch(base), fetch(tuned)
        self.names = (base, tuned)
        bones = skeleton(tuned)
        self.config: Any = bones.config
        known = roles_in_files(bones.model)
        self.parameters = tuple({parameter.name: parameter for parameter in known.values()}.values())
        self.base_files, self.tuned_files = TensorFolder(self.base), TensorFolder(self.tuned)
        self.tied = self._written_twice(known)
        self.entries = self._paired(known, _flipped(bones.model))
        self._refuse_unrelated()

    @property
    def layers(self) -> int:
        """Number of decoder blocks."""
        return 1 + max((p.layer for p in self.parameters if p.layer is not None and p.role not in TOWERS), default=-1)

    def read(self, entry: Entry) -> Pair:
        """Return both values of a tensor, each in memory of its own.

        Raises:
            ModelError: a file was cut meanwhile.
        """
        tuned = self.tuned_files.read(entry.name)
        return Pair(entry, tuned if entry.lone else self.base_files.read(entry.base_name), tuned)

    def pairs(self) -> Iterator[Pair]:
        """Yield all tensors, one pair in memory at a time."""
        return (self.read(entry) for entry in self.entries)

    def in_file_order(self) -> tuple[Entry, ...]:
        """Return the entries as they lie in the tuned model's files."""
        places = {entry.name: self.tuned_files.place(entry.name) for entry in self.entries}
        return tuple(sorted(self.entries, key=lambda entry: (places[entry.name].path, places[entry.name].start)))

    def _written_twice(self, known: dict[str, ParameterRole]) -> dict[str, str]:
        names, tied = self.tuned_files.names(), dict[str, str]()
        for role in {role.name: role for role in known.values() if role.tied}.values():
            kept, *others = [name for name in _aliases(role) if name in names] or [""]
            tied |= {name: kept for name in others if self._same_content(name, kept)}
        return tied

    def _same_content(self, one: str, other: str) -> bool:
        files = self.tuned_files
        if files.spec(one)[1:] != files.spec(other)[1:]:
            return False
        count = math.prod(files.shape(one))
        pieces = (range(at, min(at + LOOKED_AT_VALUES, count)) for at in range(0, count, LOOKED_AT_VALUES))
        return all(same_bits(files.read_values(one, piece), files.read_values(other, piece)) for piece in pieces)

    def _paired(self, known: dict[str, ParameterRole], flipped: frozenset[str]) -> tuple[Entry, ...]:
        ours, theirs = self.tuned_files.names(), set(self.base_files.names())
        endings = by_leaf(known)
        entries, lone = [], []
        for name in ours:
            if name in self.tied:
                continue
            role = known.get(name) or known.get(nearest(name, endings.get(name.rpartition(".")[2], ())) or "")
            if role is not None and name not in known and len(self.tuned_files.shape(name)) != len(role.shape):
                role = None
            base_name = name if name in theirs else _other_name(name, known, theirs)
            if base_name is None:
                if role is not None:
                    lone.append(name)
                    continue
                base_name = name
            entries.append(
                Entry(
                    name=name,
                    base_name=base_name,
                    parameter=name if role is None else role.name,
                    role=None if role is None else role.role,
                    layer=None if role is None else role.layer,
                    tied_roles=() if role is None else role.tied_roles,
                    shape=self.tuned_files.shape(name),
                    dtype=self.tuned_files.dtype(name),
                    inputs_first=role is not None and role.name in flipped,
                    lone=base_name not in theirs,
                )
            )
        used = {entry.base_name for entry in entries}
        also = {name for entry in entries if entry.parameter in known for name in _aliases(known[entry.parameter])}
        missing = [name for name in sorted(theirs - used) if name in known and name not in also]
        self._refuse_other_names(lone, missing)
        self._refuse_other_shapes(entries)
        return tuple(entries)

    def _refuse_other_names(self, lone: list[str], missing: list[str]) -> None:
        if not lone and not missing:
            return
        base, tuned = self.names
        parts = []
        if lone:
            parts.append(f"{len(lone)} tensors are only in {tuned} (first: {', '.join(lone[:SHOWN])})")
        if missing:
            parts.append(f"{len(missing)} are only in {base} (first: {', '.join(missing[:SHOWN])})")
        raise ModelError(
            f"{base} and {tuned} do not have the same tensors: {'; '.join(parts)}. "
            "Give the very model that training began with. Nothing was written."
        )

    def _refuse_other_shapes(self, entries: list[Entry]) -> None:
        base, tuned = self.names
        both = [entry for entry in entries if not entry.lone]
        other = [e for e in both if self.base_files.shape(e.base_name) != e.shape]
        if other:
            first = other[0]
            shape = self.base_files.shape(first.base_name)
            raise ModelError(
                f"{base} and {tuned} differ in shape: {first.name} is {shape} in the base "
                f"and {first.shape} in the tuned model ({len(other)} of {len(both)} differ). "
                "Give the very model that training began with. Nothing was written."
            )
        for entry in both:
            if entry.dtype not in STORED or self.base_files.dtype(entry.base_name) not in STORED:
                pair = self.read(entry)
                if not pair.same:
                    raise ModelError(
                        f"{entry.name} is stored as {pair.base.dtype} and {pair.tuned.dtype}, and differs: packed "
                        "weights cannot be compared. Save both models unquantized. Nothing was written."
                    )

    def _refuse_unrelated(self) -> None:
        matrices = [entry for entry in self.entries if entry.matrices]
        step = max(1, len(matrices) // LOOKED_AT)
        both = ours = theirs = 0.0
        for entry in matrices[::step][:LOOKED_AT]:
            _, base, tuned = self.read(entry)
            one, other = (t.reshape(-1)[:LOOKED_AT_VALUES].float() for t in (base, tuned))
            both += float(one @ other)
            theirs += float(one @ one)
            ours += float(other @ other)
        cosine = both / math.sqrt(ours * theirs) if ours * theirs > 0 else 1.0
        if not math.isfinite(cosine):
            raise ModelError(f"{self.names[0]} or {self.names[1]} holds weights that are NaN or infinite")
        if cosine < LEAST_COSINE:
            raise ModelError(
                f"{self.names[1]} was not tuned from {self.names[0]}: the cosine of their weights is {cosine:.3f}, and "
                f"fine-tuning leaves it above {LEAST_COSINE}. Give the very model that training began with. "
                "Nothing was written."
            )


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one dtype, shape and content, bit for bit (-0.0 is not 0.0, NaN is NaN)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    whole = one.nbytes - one.nbytes % 8
    a, b = (t.detach().contiguous().reshape(-1).view(torch.uint8).numpy() for t in (one, other))
    # By NumPy: a thread pool of PyTorch's would spin for what others wait for.
    return np.array_equal(a[:whole].view(np.int64), b[:whole].view(np.int64)) and np.array_equal(a[whole:], b[whole:])


def _flipped(model: Any) -> frozenset[str]:
    return frozenset(f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Conv1D))


def _aliases(parameter: ParameterRole) -> tuple[str, ...]:
    return (parameter.name, *parameter.tied)


def _other_name(name: str, known: dict[str, ParameterRole], theirs: set[str]) -> str | None:
    """Return the name under which the base's files hold a tied tensor; None if they do not."""
    role = known.get(name)
    if role is None or name not in _aliases(role):
        return None
    return next((name for name in _aliases(role) if name in theirs and known.get(name) is role), None)
