"""Both models read for healing, and their weight files hashed with what is read anyway."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from torch import Tensor

from holdfast.models.pairs import Entry, ModelPair, Pair
from holdfast.models.safetensors_file import raw_bytes
from holdfast.models.tensors import TensorFolder, weight_files

READ_BYTES = 1 << 20


class Hashes(NamedTuple):
    """SHA-256 of each weight file of both models, by the file's name."""

    base: dict[str, str]
    tuned: dict[str, str]


class Sources:
    """Reads both models side by side, a thread each, which also hashes. Leave it as a context manager.

    A file's hash takes what is read as long as it comes in the order of the file; gaps, and the rest of it, are read
    for the hash alone.

    Args:
        pair: Is read.
    """

    def __init__(self, pair: ModelPair) -> None:
        self._base, self._tuned = _HashedFolder(pair.base_files), _HashedFolder(pair.tuned_files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for side in (self._base, self._tuned):
            side.thread.shutdown(cancel_futures=True)

    def start(self, entry: Entry, values: range) -> tuple[Future[Tensor], Future[Tensor]]:
        """Begin to read some values of a tensor of the base and of the tuned model; of a lone one twice the same."""
        tuned = self._tuned.start(entry.name, values)
        return tuned if entry.lone else self._base.start(entry.base_name, values), tuned

    def read(self, entry: Entry) -> Pair:
        """Return both values of a tensor.

        Raises:
            ModelError: a file was cut meanwhile.
        """
        base, tuned = self.start(entry, range(entry.n_values))
        return Pair(entry, base.result().reshape(entry.shape), tuned.result().reshape(entry.shape))

    def hashes(self) -> Hashes:
        """Return the hashes of all weight files; what was not read of them is read now."""
        return Hashes(*(side.thread.submit(side.digests).result() for side in (self._base, self._tuned)))


class _HashedFolder:
    def __init__(self, files: TensorFolder) -> None:
        self.files, self.thread = files, ThreadPoolExecutor(1)
        self.hashes = {path: _FileHash(path) for path in weight_files(files.folder)}

    def start(self, name: str, values: range) -> Future[Tensor]:
        return self.thread.submit(self._read, name, values)

    def digests(self) -> dict[str, str]:
        return {path.name: file.finished() for path, file in self.hashes.items()}

    def _read(self, name: str, values: range) -> Tensor:
        tensor, place = self.files.read_values(name, values), self.files.place(name)
        self.hashes[place.path].take(place.start + values.start * place.dtype.itemsize, raw_bytes(tensor))
        return tensor


@dataclass
class _FileHash:
    """SHA-256 of a file of which pieces are handed over, in the order of the file or not."""

    path: Path
    digest: Any = field(default_factory=hashlib.sha256)
    position: int = 0

    def take(self, start: int, content: memoryview) -> None:
        if start >= self.position and len(content):
            self._read_up_to(start)
            self.digest.update(content)
            self.position = start + len(content)

    def finished(self) -> str:
        self._read_up_to(self.path.stat().st_size)
        return str(self.digest.hexdigest())

    def _read_up_to(self, end: int) -> None:
        with self.path.open("rb") as stream:
            stream.seek(self.position)
            while self.position < end and (block := stream.read(min(READ_BYTES, end - self.position))):
                self.digest.update(block)
                self.position += len(block)
