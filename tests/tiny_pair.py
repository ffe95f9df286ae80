"""A tiny base model and what training might have made of it, as two folders of one architecture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

import tiny_base
import tiny_models
from holdfast.heal.apply import Operation
from holdfast.heal.healing import healing_of
from holdfast.models.pairs import ModelPair
from holdfast.spectral.cache import FactorCache

BESIDE = ("tokenizer.json", "tokenizer_config.json", "exposure.json")


class Folders(NamedTuple):
    base: Path
    tuned: Path

    def pair(self) -> ModelPair:
        return ModelPair(str(self.base), str(self.tuned))

    def operation(self, **healing: Any) -> Operation:
        return Operation(self.pair(), healing_of(healing), cache=FactorCache(None))


NOISE = 0.001
"""Standard deviation of the update; that of the weights is 0.02."""


def moved(model: Any, *, seed: int = 5, unmoved: tuple[str, ...] = ()) -> Any:
    """Add noise to every parameter in place, but to those whose name holds a word of ``unmoved``; return the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if not any(word in name for word in unmoved):
                parameter += NOISE * noise.to(parameter.dtype)
    return model


def models(architecture: str, *, unmoved: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Return a base and a tuned model in float32."""
    return tiny_models.build(architecture), moved(tiny_models.build(architecture), unmoved=unmoved)


def write(
    folder: Path,
    architecture: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_size: int | str = "1GB",
    unmoved: tuple[str, ...] = (),
) -> Folders:
    """Write ``base`` and ``tuned`` below a folder; the same ones for the same arguments."""
    made = Folders(folder / "base", folder / "tuned")
    tokenizer = tiny_base.write(folder / "tokenizer")
    for place, model in zip(made, models(architecture, unmoved=unmoved), strict=True):
        model.to(dtype).save_pretrained(place, max_shard_size=max_shard_size)
        for name in BESIDE:
            shutil.copyfile(tokenizer / name, place / name)
    return made
