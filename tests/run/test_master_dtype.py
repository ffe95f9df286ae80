"""Pure bfloat16 against float32 masters: what a small rate moves, what the meters say, what a resume continues."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_base
from holdfast.plan import check
from holdfast.run import RunResult, run

pytestmark = pytest.mark.slow

CARDS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}
PURE = {"master_dtype": "stored", "save_steps": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.write(tmp_path_factory.mktemp("base"))


def trained(base: Path, folder: Path, **changes: Any) -> RunResult:
    values: dict[str, Any] = {
        "model_name_or_path": str(base),
        "attn_implementation": "eager",
        "trainable": "attention",
        "data": {**CARDS, "size": 64},
        "evaluate_at": "end",
        "budget": {"steps": 6},
        "learning_rate": 1e-6,
        "warmup_steps": 0,
        "per_device_train_batch_size": 4,
        **changes,
    }
    return run(check(values, source="test"), folder=folder)


def masters(result: RunResult) -> dict[str, torch.Tensor]:
    return load_file(result.folder / f"checkpoint-{result.steps}" / "training" / "masters.safetensors")


def unchanged(base: Path, result: RunResult) -> float:
    """Return the share of what learned that is, bit for bit, as in the base."""
    before, after = load_file(base / "model.safetensors"), masters(result)
    same = [before[name].to(tensor.dtype) == tensor for name, tensor in after.items()]
    return float(torch.cat([part.flatten() for part in same]).float().mean())


@pytest.fixture(scope="module")
def pure(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return trained(base, tmp_path_factory.mktemp("pure"), **PURE)


def test_at_a_rate_of_1e_6_pure_bfloat16_moves_almost_nothing_and_float32_masters_move(
    base: Path, pure: RunResult, tmp_path: Path
) -> None:
    held = trained(base, tmp_path / "held")
    assert unchanged(base, pure) >= 0.9
    assert unchanged(base, held) <= 0.1
    assert {tensor.dtype for tensor in masters(pure).values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in masters(held).values()} == {torch.float32}


def test_adam_keeps_its_moments_in_the_dtype_of_the_weights(pure: RunResult) -> None:
    saved = load_file(pure.folder / f"checkpoint-{pure.steps}" / "training" / "optimizer.safetensors")
    moments = [tensor for name, tensor in saved.items() if "exp_avg" in name]
    assert moments
    assert {tensor.dtype for tensor in moments} == {torch.bfloat16}


def test_the_meters_count_what_was_lost_and_not_only_what_was_kept(base: Path, pure: RunResult, tmp_path: Path) -> None:
    told = json.loads((pure.folder / "result.json").read_text())["meters"]
    assert told["swallowed_update_fraction"] > 0.9
    assert told["unchanged_after_export_fraction"] == pytest.approx(unchanged(base, pure))
    # A rate that moves everything, with and without masters: the two ways to count agree where nothing is lost.
    large = trained(base, tmp_path / "large", master_dtype="stored", learning_rate=0.05, budget={"steps": 1})
    assert json.loads((large.folder / "result.json").read_text())["meters"]["swallowed_update_fraction"] < 0.01


def test_a_pure_bfloat16_run_that_was_broken_off_goes_on_bit_for_bit(
    base: Path, pure: RunResult, tmp_path: Path
) -> None:
    shutil.copytree(pure.folder, tmp_path / "broken")
    (tmp_path / "broken" / "result.json").unlink()
    shutil.rmtree(tmp_path / "broken" / "checkpoint-6")
    resumed = trained(base, tmp_path / "broken", **PURE)
    for file in ("masters", "optimizer"):
        mine, theirs = (load_file(r.folder / f"checkpoint-6/training/{file}.safetensors") for r in (resumed, pure))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert (resumed.folder / "records.jsonl").read_text() == (pure.folder / "records.jsonl").read_text()


def test_float16_is_refused_without_masters() -> None:
    from holdfast.errors import ModelError
    from holdfast.models.compute import set_masters

    model = torch.nn.Linear(2, 2).half()
    with pytest.raises(ModelError, match="master_dtype: float32"):
        set_masters(model, ["weight"], masters="stored")
