"""Singular systems of base matrices on disk, by the hash of the matrix: computed once, shared by every checkpoint.

A file holds what `holdfast.spectral.factors.Factors` does: the vectors of the smaller side (float32, or float64 for a
float64 matrix) and the singular values (float64). It is safetensors, written whole or not at all, and checked against
the matrix's shape when it is read; what cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from holdfast.errors import ModelError
from holdfast.models.safetensors_file import TensorSpec, read_header, read_tensor, write_file
from holdfast.spectral.factors import Factors, factorize

VERSION = 1


def default_folder() -> Path:
    """Return where factors are kept unless a folder is given: ``holdfast/factors`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast" / "factors"


@dataclass
class FactorCache:
    """Finds or makes the singular system of a matrix.

    Args:
        folder: Is made when first written to; None keeps nothing.

    Attributes:
        found, made: How often each happened.
    """

    folder: Path | None
    found: int = 0
    made: int = 0

    def factors(self, weight_MN: Tensor) -> Factors:
        """Return the factors of a matrix, on its device."""
        if self.folder is None:
            self.made += 1
            return _as_kept(factorize(weight_MN), weight_MN)
        path = self.folder / f"{key(weight_MN)}.safetensors"
        factors = _read(path, weight_MN)
        if factors is not None:
            self.found += 1
            return factors
        self.made += 1
        made = _as_kept(factorize(weight_MN), weight_MN)
        _write(path, made)
        return made


def key(weight_MN: Tensor) -> str:
    """Return 32 hex digits over the bytes, the dtype and the shape of a matrix."""
    digest = hashlib.sha256(f"{VERSION} {weight_MN.dtype} {tuple(weight_MN.shape)} ".encode())
    digest.update(weight_MN.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _read(path: Path, weight_MN: Tensor) -> Factors | None:
    rank, rows, columns = min(weight_MN.shape), *weight_MN.shape
    try:
        places = read_header(path)
        vectors, values = (read_tensor(name, places[name]) for name in ("vectors", "values"))
    except (FileNotFoundError, ModelError, KeyError):
        return None
    if tuple(vectors.shape) != (rank, rank) or tuple(values.shape) != (rank,):
        return None
    return Factors(vectors.to(weight_MN.device), values.to(weight_MN.device), rows <= columns)


def _as_kept(factors: Factors, weight_MN: Tensor) -> Factors:
    """Return factors as a file holds them, so that who finds them computes the same as who made them."""
    dtype = torch.float64 if weight_MN.dtype == torch.float64 else torch.float32
    return replace(factors, vectors_RR=factors.vectors_RR.to(dtype))


def _write(path: Path, factors: Factors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"values": factors.values_R.cpu(), "vectors": factors.vectors_RR.cpu()}
    specs = [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    private = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        write_file(private, specs, tensors=iter(tensors.items()))
        private.replace(path)
    finally:
        private.unlink(missing_ok=True)
