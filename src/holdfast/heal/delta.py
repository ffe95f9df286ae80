"""A healing as a reversible difference of low rank: what it takes from the tuned model, and nothing else.

A delta is a folder of two files. ``delta.safetensors`` holds ``<matrix>.left`` (M, K) and ``<matrix>.right`` (N, K) of
every matrix that is touched, with the strength in the left one::

    W_healed = W_tuned − left · rightᵀ ,      W_tuned = W_healed + left · rightᵀ

each rounded once to the dtype of the model's file: a tuned model comes back within that rounding, not bit for bit.
``delta.json`` says what `holdfast.heal.provenance` does, and the hash of every tensor that the delta was made for.

The factors of a matrix hold (M + N) · K numbers of four bytes: a delta is smaller than the model only at small ranks.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of an edit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.errors import ModelError
from holdfast.heal.apply import Operation, summary
from holdfast.heal.low_rank import LowRank
from holdfast.heal.provenance import NAME, provenance
from holdfast.heal.publish import copy_model_files, publishing
from holdfast.heal.sources import Sources
from holdfast.heal.write import Written, largest_shard
from holdfast.models.durable import write_json
from holdfast.models.load import fetch
from holdfast.models.safetensors_file import Place, raw_bytes, read_header, read_tensor, strict_json, write_growing
from holdfast.models.tensors import TensorFolder, write_folder
from holdfast.spectral.factors import BLOCK_VALUES

WEIGHTS, FACTS = "delta.safetensors", "delta.json"
ENTRY_BYTES = 300
"""Of a header, for what it says of a matrix's two factors beside their names."""


class Delta(NamedTuple):
    """An opened delta.

    Attributes:
        facts: What ``delta.json`` says.
        places: Where the factors lie.
        matrices: Number of each matrix in its tensor (None: it is the tensor) with its name, by the tensor's name.
    """

    facts: dict[str, Any]
    places: dict[str, Place]
    matrices: dict[str, list[tuple[int | None, str]]]


def write_delta(operation: Operation, out: Path) -> Written:
    """Write a healing as a delta; see the module docstring.

    Args:
        operation: What is done.
        out: Must not exist, or be an empty folder, and not lie in one of the models.

    Raises:
        UserError: the healing is not of low rank, ``out`` cannot be used, or the disk is full. Nothing is left then.
    """
    pair, tensors = operation.pair, dict[str, dict[str, Any]]()
    room = sum(ENTRY_BYTES + 2 * len(e.name) for e in pair.entries for _ in range(e.matrices))
    with Sources(pair) as sources:
        found = LowRank(operation, sources)

        def factors() -> Iterator[tuple[str, Tensor]]:
            for matrix in found:
                tensors[matrix.entry.name] = {"tuned_sha256": matrix.tuned_sha256}
                yield f"{matrix.name}.left", matrix.left_MK
                yield f"{matrix.name}.right", matrix.right_NK

        with publishing(out, sources=(pair.base, pair.tuned), room=0) as private:
            write_growing(private / WEIGHTS, factors(), room=room, metadata={"format": "pt"})
            facts = provenance(operation, effects=found.effects, sources=sources.hashes())
            write_json(private / FACTS, facts | {"tensors": tensors})
    return Written(out, found.effects, summary(found.effects))


def apply_delta(tuned: str, delta: Path, out: Path) -> Path:
    """Write the healed model that a delta makes of the tuned one: the same bits as `write_checkpoint` on one machine.

    Args:
        tuned: The model that the delta was made for.
        delta: A folder of `write_delta`.
        out: See `holdfast.heal.write.write_checkpoint`.

    Raises:
        ModelError: it is another model, or the delta is damaged.
        UserError: ``out`` cannot be used, or the disk is full. Nothing is left then.
    """
    return _shifted(tuned, delta, out, sign=-1)


def undo_delta(healed: str, delta: Path, out: Path) -> Path:
    """Write the tuned model that a healed one comes from, within one rounding of its dtype.

    Args:
        healed: As `apply_delta` or `holdfast.heal.write.write_checkpoint` made it. Only its names and shapes can be
            checked.
        delta: A folder of `write_delta`.
        out: See `holdfast.heal.write.write_checkpoint`.

    Raises:
        ModelError: tensors are missing or have other shapes, or the delta is damaged.
        UserError: ``out`` cannot be used, or the disk is full. Nothing is left then.
    """
    return _shifted(healed, delta, out, sign=1)


def read_delta(folder: Path) -> Delta:
    """Open a delta: read its facts and its header.

    Raises:
        ModelError: a file is missing or not what it must be.
    """
    try:
        facts = strict_json((folder / FACTS).read_bytes(), folder / FACTS)
        places = read_header(folder / WEIGHTS)
    except FileNotFoundError as fault:
        raise ModelError(f"{folder} is no delta: it holds no {Path(str(fault.filename)).name}") from fault
    matrices = dict[str, list[tuple[int | None, str]]]()
    for name in sorted(name.removesuffix(".left") for name in places if name.endswith(".left")):
        tensor, bracket, number = name.removesuffix("]").rpartition("[") if name.endswith("]") else (name, "", "")
        if f"{name}.right" not in places or (bracket and not number.isdecimal()):
            raise ModelError(f"{folder / WEIGHTS} holds no pair of factors {name!r}")
        matrices.setdefault(tensor, []).append((int(number) if bracket else None, name))
    return Delta(facts, places, matrices)


def _shifted(model: str, folder: Path, out: Path, *, sign: int) -> Path:
    source, delta = fetch(model), read_delta(folder)
    files = TensorFolder(source)
    missing = sorted(delta.matrices.keys() - set(files.names()))
    if missing:
        raise ModelError(f"{model} holds no tensor {missing[0]!r}, which {folder} changes. Nothing was written.")
    names = sorted(files.names(), key=lambda name: (files.place(name).path, files.place(name).start))
    specs = [files.spec(name) for name in names]

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name in names:
            tensor = files.read(name)
            if name in delta.matrices:
                if sign < 0:
                    _refuse_other(model, folder, delta, name, tensor)
                _shift(tensor, delta, delta.matrices[name], sign=sign)
            yield name, tensor
            del tensor  # before the next is read

    with publishing(out, sources=(source, folder), room=sum(spec.nbytes for spec in specs)) as private:
        write_folder(private, specs, tensors=tensors(), max_shard_bytes=largest_shard(files))
        copy_model_files(source, private)
        write_json(private / NAME, delta.facts | {"delta": {"of": model, "undone": sign > 0}})
    return out


def _refuse_other(model: str, folder: Path, delta: Delta, name: str, tensor: Tensor) -> None:
    wanted = delta.facts.get("tensors", {}).get(name, {}).get("tuned_sha256")
    if hashlib.sha256(raw_bytes(tensor)).hexdigest() != wanted:
        raise ModelError(f"{model} is not the model that {folder} was made for: {name} differs. Nothing was written.")


def _shift(tensor: Tensor, delta: Delta, matrices: list[tuple[int | None, str]], *, sign: int) -> None:
    for number, name in matrices:
        left, right = (read_tensor(part, delta.places[part]) for part in (f"{name}.left", f"{name}.right"))
        matrix = tensor if number is None else tensor[number]
        if tuple(matrix.shape) != (left.shape[0], right.shape[0]) or left.shape[1:] != right.shape[1:]:
            raise ModelError(
                f"{name} has the shape {tuple(matrix.shape)}, the delta's factors do not. Nothing was written."
            )
        step = max(1, BLOCK_VALUES // matrix.shape[1])
        for at in range(0, matrix.shape[0], step):
            rows = slice(at, at + step)
            change = left[rows] @ right.T
            matrix[rows] = torch.add(matrix[rows].to(change.dtype), change, alpha=sign).to(matrix.dtype)
