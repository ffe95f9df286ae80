"""How far training has moved the weights: ‖W_t − W_0‖_F / ‖W_0‖_F, read at every moment of every run.

It is the yardstick that learning rates, modules and rounding share: a rate of 1e-5 says little about a run, its
distance from the base says how much was changed. Two readings, which differ in what they are relative to:

===================== ==============================================================================
``update_norm``         all weights of the language model that ``trainable: full`` would train; what is
                        frozen counts in ‖W_0‖ and adds nothing to the change
``update_norm_trained`` the tensors that learn, alone
===================== ==============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.models.file_form import by_leaf, nearest
from holdfast.models.tensors import TensorFolder
from holdfast.signals.reading import UPDATE_NORM, UPDATE_NORM_TRAINED

CHUNK = 1 << 24
"""Values that are compared at a time: the copies in higher precision stay below a few hundred megabytes."""


class UpdateNorm:
    """Measures the distance of a model from its base, reading one tensor of the base at a time.

    W_0 is read from the base's files wherever they hold a tensor bit for bit as the model had it when it was loaded
    (under its name, or under one that differs before the block's index). What they hold in another form, such as
    experts that are fused when they are loaded, is copied into host memory.

    Args:
        model: As it was loaded: nothing trained, nothing restored.
        folder: The base's files.
        trained: Names of the tensors that learn, as in ``model.named_parameters()``.
        whole: Names of all tensors that could learn: those that ``update_norm`` is relative to.

    Raises:
        ModelError: the files cannot be read.
    """

    def __init__(self, model: Any, *, folder: Path, trained: Collection[str], whole: Collection[str]) -> None:
        named = dict(model.named_parameters())
        self._files = TensorFolder(folder)
        self._places: dict[str, str] = {}
        self._copies: dict[str, Tensor] = {}
        endings = by_leaf(self._files.names())
        for name in trained:
            weight = named[name].detach()
            place = nearest(name, endings.get(name.rpartition(".")[2], ()))
            if place is not None and self._holds(place, weight):
                self._places[name] = place
            else:
                self._copies[name] = weight.to("cpu", copy=True)
        self._loaded_dtypes = {name: named[name].dtype for name in trained}
        squares = {name: _squared_distance(named[name], None) for name in dict.fromkeys([*whole, *trained])}
        self._norm = math.sqrt(math.fsum(squares.values()))
        self._norm_trained = math.sqrt(math.fsum(squares[name] for name in trained))

    @property
    def copied(self) -> int:
        """Bytes of host memory that W_0 takes."""
        return sum(tensor.nbytes for tensor in self._copies.values())

    def read(self, model: Any) -> dict[str, float | None]:
        """Return both readings of ``model``, as its weights are now; call it inside `holdfast.models.compute.exported`.

        W_0 is rounded to the dtype of each weight, so the base itself is at 0 in any dtype of export.

        Returns:
            ``update_norm`` and ``update_norm_trained``; None where the base's norm is 0.
        """
        named = dict(model.named_parameters())
        return self.read_weights((name, named[name]) for name in self._loaded_dtypes)

    def read_weights(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, float | None]:
        """As `read`, of the weights that learn as they come, each once (`holdfast.models.compute.exported_weights`)."""
        moved = math.sqrt(math.fsum(_squared_distance(now, self.base(name)) for name, now in weights))
        return {
            UPDATE_NORM: moved / self._norm if self._norm else None,
            UPDATE_NORM_TRAINED: moved / self._norm_trained if self._norm_trained else None,
        }

    def base(self, name: str) -> Tensor:
        """Return W_0 of a tensor that learns, in host memory, in the dtype in which it was loaded."""
        if name in self._copies:
            return self._copies[name]
        return self._files.read(self._places[name]).to(self._loaded_dtypes[name])

    def _holds(self, place: str, weight: Tensor) -> bool:
        return self._files.shape(place) == tuple(weight.shape) and torch.equal(
            self._files.read(place).to(weight.dtype), weight.cpu()
        )


def _squared_distance(now: Tensor, base: Tensor | None) -> float:
    """Return Σ (now − base)², or Σ now²: the difference in float32 (exact for half precision), the sum in float64."""
    flat = now.detach().reshape(-1)
    rounded = None if base is None else base.to(flat.dtype).reshape(-1)
    total = 0.0
    for at in range(0, flat.numel(), CHUNK):
        part = flat[at : at + CHUNK].float()
        if rounded is not None:
            part = part - rounded[at : at + CHUNK].to(part.device).float()
        total += float(part.double().square().sum())
    return total
