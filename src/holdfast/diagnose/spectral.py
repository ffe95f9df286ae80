"""Where in the weights training went: every matrix of one or several checkpoints against their base.

Tensors are read one at a time, and the base's singular system of a matrix is made once for all checkpoints. Names are
outermost, checkpoints within, so that memory holds one matrix of the base with its factors and one tuned matrix.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from holdfast import __version__
from holdfast.errors import ModelError, UserError
from holdfast.models.compute import STORED
from holdfast.models.pairs import Entry, ModelPair, Pair, same_bits
from holdfast.models.roles import IN_BLOCKS
from holdfast.models.safetensors_file import raw_bytes
from holdfast.report.spectral_profile import Checkpoint, Diagnosis
from holdfast.report.spectral_readings import MatrixReading
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.factors import Factors
from holdfast.spectral.measure import Matrix, measure, untouched
from holdfast.spectral.update import Update

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Tuned:
    """A model that is diagnosed.

    Attributes:
        name: As a reader knows it.
        place: A folder or a hub id.
        step: Of a run's checkpoint.
    """

    name: str
    place: str
    step: int | None = None


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Attributes:
        k: Directions at either end: a share of min(M, N) in (0, 1], or a number.
        exact: Decompose every tuned matrix.
        bands: Measure ten bands and their null.
    """

    k: float | int = 0.2
    exact: bool = False
    bands: bool = False


def checkpoints_of(place: str) -> list[Tuned]:
    """Return a model as it is, and a run folder as its ``checkpoint-N``, in order of their steps.

    Raises:
        UserError: a run folder holds no checkpoint.
    """
    folder = Path(place)
    if not folder.is_dir() or (folder / "config.json").is_file():
        step = _CHECKPOINT.fullmatch(folder.name)
        return [Tuned(place, place, int(step[1]) if step and folder.is_dir() else None)]
    steps = sorted(int(found[1]) for path in folder.iterdir() if (found := _CHECKPOINT.fullmatch(path.name)))
    if not steps:
        raise UserError(
            f"{place} is neither a model (it holds no config.json) nor a run with checkpoints (no checkpoint-N in it). "
            "Name a model's folder, or train with save_steps"
        )
    return [Tuned(f"step {step}", str(folder / f"checkpoint-{step}"), step) for step in steps]


def diagnose(
    base: str,
    tuned: Sequence[Tuned],
    asked: Asked,
    *,
    other: str | None = None,
    cache: FactorCache,
    device: torch.device | str = "cpu",
    said: Callable[[str], None] = print,
) -> Diagnosis:
    """Measure every matrix of every checkpoint.

    Args:
        base: The model that training began with.
        tuned: At least one model.
        asked: What is measured.
        other: A further model tuned from the base, that each is held against.
        cache: Finds or makes the base's singular systems.
        device: Where matrices are measured, for example ``cuda``.
        said: Hears of progress.

    Raises:
        ModelNotFound, ModelError: a model cannot be read, is no pair with the base, or holds NaN.
    """
    sides = [_Side(one, ModelPair(base, one.place)) for one in tuned]
    rival = None if other is None else _Side(Tuned(other, other), ModelPair(base, other))
    names = dict.fromkeys(name for side in sides for name in side.entries)
    said(f"{base}: {len(names)} tensors, {len(sides)} checkpoint{'s' if len(sides) > 1 else ''}")
    digest = hashlib.sha256()
    for name in names:
        once = _Once(cache)
        beside = None if rival is None else rival.read(name, None)
        known: Pair | None = None
        for side in sides:
            pair = side.read(name, known)
            if pair is not None:
                if known is None:
                    _hash(digest, name, pair.base)
                known = pair
                side.add(pair, _readings(pair, beside, asked, once, torch.device(device)))
    told = tuple(side.told() for side in sides)
    return Diagnosis(base, digest.hexdigest(), told, asked.k, __version__, other=other)


@dataclass
class _Side:
    """One checkpoint as it is measured."""

    tuned: Tuned
    pair: ModelPair
    matrices: list[MatrixReading] = field(default_factory=list)
    identical: int = 0
    energy: float = 0.0
    base_energy: float = 0.0

    def __post_init__(self) -> None:
        self.entries = {entry.name: entry for entry in self.pair.entries}
        self.digest = hashlib.sha256()

    def read(self, name: str, known: Pair | None) -> Pair | None:
        """Return both values of a tensor; the base's from another side if that has it."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        if known is None or entry.lone or known.entry.lone or known.entry.base_name != entry.base_name:
            return self.pair.read(entry)
        return Pair(entry, known.base, self.pair.tuned_files.read(entry.name))

    def add(self, pair: Pair, readings: list[MatrixReading]) -> None:
        """Take what was found of a tensor into the whole."""
        _hash(self.digest, pair.entry.name, pair.tuned)
        self.matrices += readings
        self.identical += pair.same
        if readings:
            self.energy += math.fsum(one.norm**2 for one in readings)
            self.base_energy += math.fsum(one.base_norm**2 for one in readings)
        elif pair.entry.dtype in STORED:
            before, after = pair.base.double(), pair.tuned.double()
            self.energy += float((after - before).square().sum())
            self.base_energy += float(before.square().sum())

    def told(self) -> Checkpoint:
        """Return the whole as values."""
        return Checkpoint(
            self.tuned.name, self.tuned.step, tuple(self.matrices), len(self.entries), self.identical, self.energy,
            self.base_energy, self.digest.hexdigest(), tuple(sorted(self.pair.tied)),
        )  # fmt: skip


@dataclass
class _Once:
    """The base's factors of one tensor, made at most once whatever the number of checkpoints."""

    cache: FactorCache
    found: dict[int, Factors] = field(default_factory=dict)

    def factors(self, number: int, weight_MN: Tensor, *, flipped: bool) -> Factors:
        if number not in self.found:
            self.found[number] = self.cache.factors(weight_MN)
        made = self.found[number]
        return Factors(made.vectors_RR, made.values_R, not made.rows_are_smaller) if flipped else made


def _hash(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    digest.update(name.encode())
    digest.update(raw_bytes(tensor))


def _readings(pair: Pair, beside: Pair | None, asked: Asked, once: _Once, device: torch.device) -> list[MatrixReading]:
    """Return the readings of the matrices that a tensor is; none of a vector."""
    entry = pair.entry
    if not entry.matrices:
        return []
    stack = len(entry.shape) == 3
    found = []
    for number in range(entry.matrices):
        base, tuned = (one[number] if stack else one for one in (pair.base, pair.tuned))
        third = None if beside is None else beside.tuned[number] if stack else beside.tuned
        try:
            found.append(_reading(entry, number if stack else None, base, tuned, third, asked, once, device))
        except ValueError as fault:
            raise ModelError(f"{entry.name} cannot be measured: {fault}. Nothing was written.") from fault
    return found


def _reading(
    entry: Entry, number: int | None, base_MN: Tensor, tuned_MN: Tensor, third_MN: Tensor | None, asked: Asked,
    once: _Once, device: torch.device,
) -> MatrixReading:  # fmt: skip
    name = entry.name if number is None else f"{entry.name}[{number}]"
    inner = entry.role in IN_BLOCKS and entry.layer is not None
    matrix = Matrix(name, None if entry.role is None else entry.role.value, entry.layer, inner)
    if same_bits(base_MN, tuned_MN) and (third_MN is None or same_bits(base_MN, third_MN)):
        rows, columns = base_MN.shape[::-1] if entry.inputs_first else base_MN.shape
        norm = float(torch.linalg.vector_norm(base_MN.float(), dtype=torch.float64))
        return untouched(rows, columns, matrix=matrix, k=asked.k, base_norm=norm)
    there = base_MN.to(device)

    def turned(weight_MN: Tensor) -> Tensor:
        return weight_MN.T if entry.inputs_first else weight_MN

    def update(to_MN: Tensor) -> Update:
        return Update(
            turned(there),
            turned(to_MN.to(device)),
            factors=lambda: once.factors(number or 0, there, flipped=entry.inputs_first),
        )

    return measure(
        update(tuned_MN), matrix=matrix, k=asked.k, exact=asked.exact, with_bands=asked.bands,
        other=None if third_MN is None else update(third_MN),
    )  # fmt: skip
