"""The relative distance from the base, against a few lines of NumPy in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import tiny_models
from holdfast.models.compute import exported, set_masters
from holdfast.train.update_norm import UpdateNorm

BF16, F32 = torch.bfloat16, torch.float32


def base_of(folder: Path, architecture: str = "llama", *, dtype: torch.dtype = BF16) -> Any:
    tiny_models.build(architecture).to(dtype).save_pretrained(folder)
    auto = transformers.AutoModelForImageTextToText if architecture == "mllama" else transformers.AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype="auto").eval()


def moved(model: Any, names: list[str], by: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in names:
                weight.add_(by * torch.randn(weight.shape, generator=generator).to(weight.dtype))


def learning(model: Any, word: str = "self_attn") -> tuple[list[str], list[str]]:
    """Return the names that learn, and all of them."""
    whole = [name for name, _ in model.named_parameters()]
    return [name for name in whole if word in name], whole


@pytest.mark.parametrize("save_dtype", [BF16, F32])
def test_both_readings_equal_numpy_in_float64(tmp_path: Path, save_dtype: torch.dtype) -> None:
    model = base_of(tmp_path)
    trained, whole = learning(model)
    meter = UpdateNorm(model, folder=tmp_path, trained=trained, whole=whole)
    set_masters(model, trained)
    moved(model, trained, 1e-3)
    with exported(model, save_dtype):
        told = meter.read(model)
    base = {name: tensor.double().numpy() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    named = {name: weight.detach().to(save_dtype).double().numpy() for name, weight in model.named_parameters()}
    change = np.sqrt(sum(((named[name] - base[name]) ** 2).sum() for name in trained))
    assert told["update_norm_trained"] == pytest.approx(
        change / np.sqrt(sum((base[name] ** 2).sum() for name in trained)), rel=1e-9
    )
    assert told["update_norm"] == pytest.approx(
        change / np.sqrt(sum((base[name] ** 2).sum() for name in whole)), rel=1e-9
    )


@pytest.mark.parametrize("save_dtype", [BF16, F32])
@pytest.mark.parametrize("loaded", [BF16, F32])
def test_the_base_is_at_zero_whatever_the_dtype_of_the_export(
    tmp_path: Path, loaded: torch.dtype, save_dtype: torch.dtype
) -> None:
    model = base_of(tmp_path, dtype=loaded)
    _, whole = learning(model)
    meter = UpdateNorm(model, folder=tmp_path, trained=whole, whole=whole)
    set_masters(model, whole)
    with exported(model, save_dtype):
        assert meter.read(model) == {"update_norm": 0.0, "update_norm_trained": 0.0}
    assert meter.copied == 0


def test_an_update_that_the_export_rounds_away_is_no_distance(tmp_path: Path) -> None:
    model = base_of(tmp_path)
    _, whole = learning(model)
    meter = UpdateNorm(model, folder=tmp_path, trained=whole, whole=whole)
    set_masters(model, whole)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 1e-4)  # below half of bfloat16's spacing anywhere
    with exported(model, BF16):
        assert meter.read(model)["update_norm"] == 0.0
    with exported(model, F32):
        assert meter.read(model)["update_norm"] == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(("architecture", "word"), [("mllama", "self_attn"), ("mixtral", "mlp"), ("qwen2", "embed")])
def test_a_base_whose_files_hold_its_tensors_otherwise_is_measured_all_the_same(
    tmp_path: Path, architecture: str, word: str
) -> None:
    """Mllama's files begin names otherwise, Mixtral's hold experts one by one, Qwen2's head is its embedding."""
    model = base_of(tmp_path, architecture)
    trained, whole = learning(model, word)
    before = {name: weight.detach().clone().double() for name, weight in model.named_parameters()}
    meter = UpdateNorm(model, folder=tmp_path, trained=trained, whole=whole)
    set_masters(model, trained)
    moved(model, trained, 1e-2)
    with exported(model, F32):
        told = meter.read(model)
        named = {name: weight.detach().double() for name, weight in model.named_parameters()}
    change = sum(float((named[name] - before[name]).square().sum()) for name in whole)
    size = sum(float(before[name].square().sum()) for name in whole)
    assert told["update_norm"] == pytest.approx((change / size) ** 0.5, rel=1e-6)
    assert meter.copied == 0 or architecture == "mixtral"


def test_files_with_the_right_name_and_other_values_are_not_believed(tmp_path: Path) -> None:
    model = base_of(tmp_path)
    trained, whole = learning(model)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    meter = UpdateNorm(model, folder=tmp_path, trained=trained, whole=whole)
    assert meter.copied == sum(weight.nbytes for name, weight in model.named_parameters() if name in trained)
    assert meter.read(model)["update_norm"] == 0.0
