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


def moved(model: Any, *, seed: int = 5, share: float = 0.05, unmoved: tuple[str, ...] = ()) -> Any:
    """Add noise to every parameter in place, but to those whose name holds a word of ``unmoved``; return the model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if not any(word in name for word in unmoved):
                parameter += share * float(parameter.abs().mean()) * noise
    return model


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
    models = (tiny_models.build(architecture), moved(tiny_models.build(architecture), unmoved=unmoved))
    tokenizer = tiny_base.write(folder / "tokenizer")
    for place, model in zip(made, models, strict=True):
        model.to(dtype).save_pretrained(place, max_shard_size=max_shard_size)
        for name in BESIDE:
            shutil.copyfile(tokenizer / name, place / name)
    return made
