"""One safetensors file: its header read with suspicion, its data written one tensor at a time.

File format: 8 bytes little-endian header length, the header (JSON: name to dtype, shape, data_offsets), the raw data.
The reference reader accepts a name that comes twice and a name with ``../`` in it; this one does not.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.errors import ModelError

MAX_HEADER = 100_000_000

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


class TensorSpec(NamedTuple):
    """What must be known of a tensor before it is written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


class Place(NamedTuple):
    """Where a tensor lies: its data begin at byte ``start`` of ``path``."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


def read_header(path: Path) -> dict[str, Place]:
    """Return where each tensor of one safetensors file lies, after checking that the header fits the file.

    Raises:
        ModelError: repeated names, unknown dtypes, shapes that do not fit the offsets, holes, overlaps, wrong length.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ModelError(f"{path} is not a safetensors file: header of {length} bytes in a file of {size}")
        raw = stream.read(length)
    if not raw.startswith(b"{"):
        raise ModelError(f"{path} is not a safetensors file: its header does not start with '{{'")
    header = strict_json(raw, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelError(f"{path}: __metadata__ must map words to words")
    start = 8 + length
    places, end = {}, 0
    for name, (spec, first, last) in sorted(_entries(header, path), key=lambda entry: (entry[1][1], entry[1][2])):
        if first != end:
            raise ModelError(f"{path}: tensor {name!r} starts at {first}, the one before ends at {end}")
        end = last
        places[name] = Place(path, spec.dtype, spec.shape, start + first)
    if start + end != size:
        raise ModelError(f"{path} has {size} bytes, its header accounts for {start + end}")
    return places


def read_tensor(name: str, place: Place) -> Tensor:
    """Return a tensor in memory of its own (CPU, the dtype of the file).

    Raises:
        ModelError: the file was cut since its header was read.
    """
    return read_values(name, place, range(math.prod(place.shape))).reshape(place.shape)


def read_values(name: str, place: Place, values: range) -> Tensor:
    """Return some of a tensor's values, counted as they lie in the file, as a flat tensor in memory of its own.

    Raises:
        ModelError: the file was cut since its header was read.
    """
    tensor = torch.empty(len(values), dtype=place.dtype)
    if not values:
        return tensor
    with place.path.open("rb", buffering=0) as stream:
        stream.seek(place.start + values.start * place.dtype.itemsize)
        left = tensor.view(torch.uint8).numpy().data
        while left:
            count = stream.readinto(left)
            if not count:
                raise ModelError(f"{place.path} ends inside tensor {name!r}")
            left = left[count:]
    return tensor


def write_file(
    path: Path,
    specs: Sequence[TensorSpec],
    *,
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write one safetensors file, durably; of ``tensors`` exactly what fills ``specs`` is taken.

    Args:
        path: Is overwritten.
        specs: What comes, in this order.
        tensors: Name and value. A tensor may also come in flat pieces, each under its name.
        metadata: For the header.

    Raises:
        ModelError: an item is not what was announced, or two specs have one name.
    """
    stream = iter(tensors)
    header, offsets = _layout(path, specs, metadata)
    with path.open("wb") as file:
        file.write(header)
        for spec in specs:
            file.seek(len(header) + offsets[spec.name])
            for piece in _filling(path, spec, stream):
                file.write(raw_bytes(piece))
                del piece  # before the next is made
        file.flush()
        os.fsync(file.fileno())


def write_growing(
    path: Path, tensors: Iterable[tuple[str, Tensor]], *, room: int, metadata: Mapping[str, str] | None = None
) -> list[TensorSpec]:
    """Write one safetensors file, durably, of tensors whose number and shapes show only as they come.

    The header comes first in a file and is known last, so room is kept for it and filled up with spaces.

    Args:
        path: Is overwritten.
        tensors: Name and value, all of one dtype.
        room: Bytes for the header, at least its length.
        metadata: For the header.

    Returns:
        What was written.

    Raises:
        ModelError: the header is longer than ``room``, or a tensor cannot be stored.
    """
    specs: list[TensorSpec] = []
    room += -room % 8
    with path.open("wb") as file:
        file.seek(8 + room)
        for name, tensor in tensors:
            specs.append(TensorSpec(name, tensor.dtype, tuple(tensor.shape)))
            file.write(raw_bytes(tensor))
        header, _ = _layout(path, specs, metadata)
        if len(header) > 8 + room:
            raise ModelError(f"{path}: the header of {len(specs)} tensors does not fit into {room} bytes")
        file.seek(0)
        file.write(struct.pack("<Q", room) + header[8:].ljust(room))
        file.flush()
        os.fsync(file.fileno())
    return specs


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, of a copy of it if it does not lie in one piece on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def strict_json(raw: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object in which no key comes twice.

    Raises:
        ModelError: it is not one; ``path`` is named as where it came from.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        unique: dict[str, Any] = {}
        for name, value in pairs:
            if name in unique:
                raise ModelError(f"{path}: {name!r} comes twice")
            unique[name] = value
        return unique

    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is not JSON where it must be: {str(fault)[:200]}") from fault
    if not isinstance(parsed, dict):
        raise ModelError(f"{path} must hold a JSON object there, found {type(parsed).__name__}")
    return parsed


def _filling(path: Path, spec: TensorSpec, stream: Iterator[tuple[str, Tensor]]) -> Iterator[Tensor]:
    left, begun = math.prod(spec.shape), False
    while left or not begun:
        name, tensor = next(stream, ("", torch.empty(0)))
        whole = not begun and tuple(tensor.shape) == spec.shape
        fits = whole or (tensor.ndim == 1 and 0 < tensor.numel() <= left)
        if name != spec.name or tensor.dtype != spec.dtype or not fits:
            raise ModelError(f"{path}: {spec} was announced, {name!r} {tensor.dtype} {tuple(tensor.shape)} came")
        left, begun = left - tensor.numel(), True
        yield tensor


def _layout(
    path: Path, specs: Sequence[TensorSpec], metadata: Mapping[str, str] | None
) -> tuple[bytes, dict[str, int]]:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offsets: dict[str, int] = {}
    end = 0
    # Wide dtypes first, so that every tensor starts at a multiple of its item size, which memory maps need.
    for spec in sorted(specs, key=lambda spec: -spec.dtype.itemsize):
        if spec.name in offsets or spec.dtype not in CODES:
            raise ModelError(f"{path}: tensor {spec.name!r} comes twice, or its dtype {spec.dtype} cannot be stored")
        offsets[spec.name] = end
        end += spec.nbytes
        place = [offsets[spec.name], end]
        header[spec.name] = {"dtype": CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": place}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw, offsets


def _entries(header: Mapping[str, Any], path: Path) -> list[tuple[str, tuple[TensorSpec, int, int]]]:
    entries = []
    for name, entry in header.items():
        if "\0" in name or ".." in name.split("/"):
            raise ModelError(f"{path}: a tensor is named {name!r}")
        match entry:
            case {"dtype": str(code), "shape": list(shape), "data_offsets": [first, last], **rest} if not rest:
                pass
            case _:
                raise ModelError(f"{path}: the entry of tensor {name!r} is {str(entry)[:100]}")
        if code not in DTYPES:
            raise ModelError(f"{path}: tensor {name!r} has the dtype {code!r}; known: {', '.join(DTYPES)}")
        if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, first, last)):
            raise ModelError(f"{path}: tensor {name!r} has shape {str(shape)[:100]}, offsets {first}, {last}")
        spec = TensorSpec(name, DTYPES[code], tuple(shape))
        if last - first != spec.nbytes:
            raise ModelError(f"{path}: tensor {name!r} needs {spec.nbytes} bytes, its offsets give {last - first}")
        entries.append((name, (spec, first, last)))
    return entries
