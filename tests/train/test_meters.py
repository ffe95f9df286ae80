"""The two meters of the small-learning-rate trap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from holdfast.errors import ModelError
from holdfast.train.meters import sample, swallowed_update_fraction, unchanged_after_export_fraction, warning


def step_of(size: float, dtype: torch.dtype = torch.bfloat16) -> float | None:
    """Return the meter's reading for weights ~ N(0, 0.02) and an update of ``±size`` on each."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(200_000, generator=generator) * 0.02
    before = before.to(dtype).float()
    sign = torch.randint(0, 2, before.shape, generator=generator) * 2 - 1
    return swallowed_update_fraction({"w": before}, {"w": before + size * sign}, dtype=dtype)


@pytest.mark.parametrize(("size", "published"), [(5e-5, 0.43), (2e-5, 0.70), (1e-5, 0.85), (1e-6, 0.98), (1e-7, 0.999)])
def test_bfloat16_swallows_the_share_of_adam_steps_that_was_measured_before(size: float, published: float) -> None:
    """Shares of weights ~ N(0, 0.02) that a unit Adam step leaves unchanged, measured for the design by other code."""
    assert step_of(size) == pytest.approx(published, abs=0.015)


def test_float32_swallows_nothing_that_matters() -> None:
    share = step_of(1e-6, torch.float32)
    assert share is not None
    assert share < 0.01


def test_the_reading_agrees_with_a_count_by_hand() -> None:
    # Between 1 and 2 bfloat16 moves in steps of 2^-7; half a step from an even place rounds back.
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
    update = torch.tensor([2**-7, 2**-8, 2**-8 + 1e-6, 2**-9, 0.0])
    assert swallowed_update_fraction({"w": before}, {"w": before + update}, dtype=torch.bfloat16) == 2 / 4


def test_half_precision_rounding_agrees_with_numpy_in_float64() -> None:
    rng = np.random.default_rng(0)
    before, update = rng.normal(0, 0.02, 5000).astype(np.float32), rng.normal(0, 1e-5, 5000).astype(np.float32)
    after = before + update
    stored = before.astype(np.float16)
    moved = (after - before) != 0
    lost = (stored.astype(np.float64) + (after - before).astype(np.float64)).astype(np.float16) == stored
    reading = swallowed_update_fraction(
        {"w": torch.from_numpy(before)}, {"w": torch.from_numpy(after)}, dtype=torch.float16
    )
    assert reading == pytest.approx((lost & moved).sum() / moved.sum(), abs=2e-3)


def test_a_step_that_moves_nothing_has_no_reading() -> None:
    assert swallowed_update_fraction({"w": torch.ones(3)}, {"w": torch.ones(3)}, dtype=torch.bfloat16) is None


def test_other_weights_after_than_before_are_refused() -> None:
    with pytest.raises(ModelError, match="different weights"):
        swallowed_update_fraction({"a": torch.ones(3)}, {"b": torch.ones(3)}, dtype=torch.bfloat16)


def test_a_sample_reads_like_the_whole_and_is_a_copy() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(400, 500, generator=generator) * 0.02)
    before, small = {"w": weight.detach().clone()}, sample({"w": weight}, per_tensor=4000)
    assert 4000 <= small["w"].numel() <= 8000
    with torch.no_grad():
        weight.add_(3e-5)
    whole = swallowed_update_fraction(before, {"w": weight}, dtype=torch.bfloat16)
    part = swallowed_update_fraction(small, sample({"w": weight}, per_tensor=4000), dtype=torch.bfloat16)
    assert whole is not None
    assert part == pytest.approx(whole, abs=0.03)


def folders(tmp_path: Path, base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor]) -> tuple[Path, Path]:
    paths = tmp_path / "base", tmp_path / "tuned"
    for path, tensors in zip(paths, (base, tuned), strict=True):
        path.mkdir(exist_ok=True)
        save_file(tensors, path / "model.safetensors")
    return paths


BASE = {"frozen": torch.ones(10), "moved": torch.arange(10.0), "whole": torch.ones(5), "counter": torch.arange(3)}
TUNED = BASE | {"moved": torch.arange(10.0) + torch.tensor([0.0] * 7 + [1.0] * 3)}


@pytest.mark.parametrize(("names", "share"), [(["moved"], 0.7), (["moved", "whole"], 12 / 15), (None, 0.7)])
def test_the_share_of_trained_weights_that_stayed_is_counted(
    tmp_path: Path, names: list[str] | None, share: float
) -> None:
    base, tuned = folders(tmp_path, BASE, TUNED)
    assert unchanged_after_export_fraction(base, tuned, names=names) == share


def test_files_with_other_names_than_the_model_are_judged_by_what_differs(tmp_path: Path) -> None:
    base, tuned = folders(tmp_path, BASE, TUNED)
    assert unchanged_after_export_fraction(base, tuned, names=["model.moved", "whole"]) == 0.7
    assert unchanged_after_export_fraction(base, base, names=["model.moved"]) == 1.0


def test_both_folders_are_compared_in_the_dtype_of_the_export(tmp_path: Path) -> None:
    base = {"w": torch.full((4,), 1.0)}
    tuned = {"w": torch.tensor([1.0, 1.001, 1.002, 1.1])}
    folder, exact = folders(tmp_path, base, tuned)
    assert unchanged_after_export_fraction(folder, exact) == 0.25
    assert unchanged_after_export_fraction(folder, exact, save_dtype=torch.bfloat16) == 0.75
    folder, rounded = folders(tmp_path, base, {"w": tuned["w"].bfloat16()})
    assert unchanged_after_export_fraction(folder, rounded) == 0.75


def test_folders_of_different_shapes_or_without_a_common_tensor_are_told_apart(tmp_path: Path) -> None:
    base, tuned = folders(tmp_path, {"w": torch.ones(4)}, {"w": torch.ones(5)})
    with pytest.raises(ModelError, match="shape"):
        unchanged_after_export_fraction(base, tuned)
    base, tuned = folders(tmp_path, {"w": torch.ones(4)}, {"v": torch.ones(4)})
    assert unchanged_after_export_fraction(base, tuned) is None


def test_only_more_than_half_warns_and_names_the_cures() -> None:
    assert warning("swallowed_update_fraction", None) is None
    assert warning("swallowed_update_fraction", 0.5) is None
    words = warning("unchanged_after_export_fraction", 0.86)
    assert words is not None
    assert words.startswith("86%")
    assert all(cure in words for cure in ("float32", "stochastically", "larger learning rate"))
