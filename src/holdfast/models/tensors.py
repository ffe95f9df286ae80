"""Streamed reading and writing of safetensors folders: one tensor in memory at a time, no matter the size of the model.

Shard indexes and headers are input from others. File names must be plain names inside the folder, a tensor exists once,
and the tensors fill their file exactly; the reference reader accepts repeated names, and Transformers follows an index
out of its folder. A file is read tensor by tensor with ``pread``: a memory map of a large file counts as memory used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from holdfast.errors import ModelError
from holdfast.models.durable import fsync, write_json
from holdfast.models.safetensors_file import (
    MAX_HEADER,
    Place,
    TensorSpec,
    read_header,
    read_tensor,
    read_values,
    strict_json,
    write_file,
)

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class TensorFolder:
    """The weights of a model folder, by name. Opening reads and checks the headers only.

    Args:
        folder: Holds ``model.safetensors``, or an index and its shards.

    Raises:
        ModelError: an index or header is not what it must be; the file, the key and the value are named.

    Example::

        folder = TensorFolder(path)
        for name in folder.names():
            print(name, folder.read(name).float().norm())
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, Place] = {}
        for path in weight_files(folder):
            for name, place in read_header(path).items():
                if name in self._places:
                    raise ModelError(f"tensor {name!r} is in {self._places[name].path.name} and in {path.name}")
                self._places[name] = place
        if not (folder / SINGLE).is_file():
            self._check_index(_weight_map(folder / INDEX))

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._places))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.place(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Return a tensor's dtype."""
        return self.place(name).dtype

    def spec(self, name: str) -> TensorSpec:
        """Return name, dtype and shape of a tensor."""
        place = self.place(name)
        return TensorSpec(name, place.dtype, place.shape)

    def read(self, name: str) -> Tensor:
        """Return a tensor in memory of its own (CPU, the dtype of the file).

        Raises:
            ModelError: no such tensor, or the file was cut meanwhile.
        """
        return read_tensor(name, self.place(name))

    def read_values(self, name: str, values: range) -> Tensor:
        """Return some of a tensor's values, counted as they lie in the file, as a flat tensor in memory of its own.

        Raises:
            ModelError: no such tensor, or the file was cut meanwhile.
        """
        return read_values(name, self.place(name), values)

    def place(self, name: str) -> Place:
        """Return where a tensor lies.

        Raises:
            ModelError: no such tensor.
        """
        if name not in self._places:
            raise ModelError(f"{self.folder} holds no tensor {name!r}")
        return self._places[name]

    def _check_index(self, weight_map: Mapping[str, str]) -> None:
        index = self.folder / INDEX
        for name, shard in weight_map.items():
            if name not in self._places:
                raise ModelError(f"{index} promises tensor {name!r} in {shard!r}, which does not hold it")
            if self._places[name].path.name != shard:
                raise ModelError(f"{index} says tensor {name!r} is in {shard!r}; {self._places[name].path.name} has it")
        extra = sorted(self._places.keys() - weight_map.keys())
        if extra:
            raise ModelError(f"{len(extra)} tensors of the shards are not in {index} (first: {extra[0]!r})")


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights: the single one, or all shards of the index, in order of name.

    Raises:
        ModelError: there is neither, a shard is missing, or the index names a file that is not a plain name.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    shards = {check_plain_name(shard, folder / INDEX) for shard in _weight_map(folder / INDEX).values()}
    for shard in sorted(shards):
        if not (folder / shard).is_file():
            raise ModelError(f"{folder / INDEX} names the shard {shard!r}, which is missing")
    return [folder / shard for shard in sorted(shards)]


def check_plain_name(name: str, source: Path) -> str:
    """Return ``name`` if it is a plain file name: no separator, no ``..``, no NUL, no drive letter.

    Raises:
        ModelError: it is not; ``source`` is named as the file that says so.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0:"):
        raise ModelError(f"{source} names {name!r}, which is not a plain file name; it may lead out of the folder")
    return name


def write_folder(
    folder: Path,
    specs: Sequence[TensorSpec],
    *,
    tensors: Iterable[tuple[str, Tensor]],
    max_shard_bytes: int = 5_000_000_000,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a model's weights, holding one tensor at a time; every file is durable when this returns.

    Args:
        folder: Exists. Weight files of the same names are overwritten; see `holdfast.models.durable.appearing`.
        specs: All tensors, in the order in which ``tensors`` yields them.
        tensors: Name and value; dtype and shape as announced, or in flat pieces of it, each under its name.
        max_shard_bytes: A new shard begins where this would be passed; a larger tensor has a shard of its own.
        metadata: Kept in each file; ``format: pt`` is added, without which Transformers refuses the file.

    Returns:
        The weight files.

    Raises:
        ModelError: ``tensors`` does not yield what was announced.
    """
    shards: list[list[TensorSpec]] = [[]]
    for spec in specs:
        if shards[-1] and sum(other.nbytes for other in shards[-1]) + spec.nbytes > max_shard_bytes:
            shards.append([])
        shards[-1].append(spec)
    one = len(shards) == 1
    names = [SINGLE if one else f"model-{k:05}-of-{len(shards):05}.safetensors" for k in range(1, len(shards) + 1)]
    stream = iter(tensors)
    for name, shard in zip(names, shards, strict=True):
        write_file(folder / name, shard, tensors=stream, metadata={"format": "pt", **(metadata or {})})
    if next(stream, None) is not None:
        raise ModelError(f"more tensors than the {len(specs)} announced were given to {folder}")
    if not one:
        weight_map = {spec.name: name for name, shard in zip(names, shards, strict=True) for spec in shard}
        total = sum(spec.nbytes for spec in specs)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    fsync(folder)
    return [folder / name for name in names]


def _weight_map(index: Path) -> dict[str, str]:
    try:
        if index.stat().st_size > MAX_HEADER:
            raise ModelError(f"{index} is larger than {MAX_HEADER:,} bytes")
        parsed = strict_json(index.read_bytes(), index)
    except FileNotFoundError as fault:
        raise ModelError(f"{index.parent} holds neither {SINGLE} nor {INDEX}") from fault
    weight_map = parsed.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index} holds no weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise ModelError(f"{index}: weight_map[{name!r}] is {shard!r}, not a file name")
    return weight_map
