"""Adapters in whole runs: what learns, what is measured and saved, what a resume continues, what a plan foretells."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

import tiny_base
from holdfast.errors import SelectionError, UserError
from holdfast.plan import check, plan
from holdfast.run import RunResult, run, story
from holdfast.train import checkpoint

CARDS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}
SUITE = {**CARDS, "purpose": "id", "size": 6, "decoding": {"max_new_tokens": 4}}
LORA = {"r": 4, "alpha": 8}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.write(tmp_path_factory.mktemp("lora") / "base")


def values(base: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(base),
        "attn_implementation": "eager",
        "trainable": "full",
        "lora": LORA,
        "data": {**CARDS, "size": 64},
        "suites": {"id": SUITE},
        "evaluate_at": "end",
        "budget": {"steps": 4},
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "per_device_train_batch_size": 4,
        "save_dtype": "float32",
        **changes,
    }


def trained(base: Path, folder: Path, **changes: Any) -> RunResult:
    return run(check(values(base, **changes), source="test"), folder=folder)


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return trained(base, tmp_path_factory.mktemp("run") / "run", save_steps=2)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def saved(result: RunResult) -> Path:
    return result.folder / f"checkpoint-{result.steps}"


def test_a_checkpoint_is_a_plain_model_whose_linear_layers_moved_and_nothing_else(
    base: Path, finished: RunResult
) -> None:
    before, after = weights(base), weights(saved(finished))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert moved == {name for name in before if ".self_attn." in name or ".mlp." in name}
    model = transformers.AutoModelForCausalLM.from_pretrained(saved(finished))
    assert torch.equal(
        model.state_dict()["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"]
    )


def test_peft_loads_the_adapter_on_the_base_and_computes_what_the_merged_model_does(
    base: Path, finished: RunResult
) -> None:
    merged = transformers.AutoModelForCausalLM.from_pretrained(saved(finished), dtype=torch.float32).eval()
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    ids_BT = torch.arange(3, 27).view(2, 12)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's own
        untrained = plain(ids_BT).logits
        adapted = peft.PeftModel.from_pretrained(plain, saved(finished) / "adapter").eval()
        there, ours = adapted(ids_BT).logits, merged(ids_BT).logits
        theirs = adapted.merge_and_unload()(ids_BT).logits
    torch.testing.assert_close(there, ours, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert (ours - untrained).abs().max() > 0.05


def test_the_adapter_is_under_the_seal_of_the_checkpoint(finished: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished.folder, copy)
    adapter = copy / "checkpoint-4" / "adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
    (adapter / "adapter_config.json").write_text("{}")
    found = checkpoint.newest(copy, identity=None)
    assert found is not None
    assert found.step == 2
    assert "adapter_config.json" in found.skipped[0]


def test_step_0_is_the_base_and_the_distance_is_that_of_the_merged_weights(base: Path, finished: RunResult) -> None:
    first, last = finished.records[0].readings, finished.records[-1].readings
    assert first["update_norm"] == first["update_norm_trained"] == 0
    before, after = weights(base), weights(saved(finished))

    def norm(names: list[str], other: Mapping[str, torch.Tensor]) -> float:
        return sum(float((after[n].double() - other[n].double()).square().sum()) for n in names) ** 0.5

    zero = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    adapted = [name for name in before if ".self_attn." in name or ".mlp." in name]
    length = sum(float(before[n].double().square().sum()) for n in adapted) ** 0.5
    assert last["update_norm_trained"] == pytest.approx(norm(adapted, before) / length, rel=1e-5)
    assert norm(adapted, zero) > 0
    told = json.loads((finished.folder / "result.json").read_text())
    assert told["frozen_verified"]
    assert told["meters"]["unchanged_after_export_fraction"] < 0.05


@pytest.mark.slow
def test_a_run_spends_what_was_planned(base: Path, tmp_path: Path) -> None:
    recipe = check(values(base, budget={"steps": 4, "match": "flops"}), source="test")
    planned = plan(recipe)
    assert planned.steps == 5
    told = json.loads((run(recipe, folder=tmp_path / "run", planned=planned).folder / "result.json").read_text())
    for name, amount in planned.total.to_json().items():
        assert told["spent"][name] == pytest.approx(amount, rel=1e-12), name


@pytest.mark.slow
@pytest.mark.parametrize("lora", [LORA, {**LORA, "dropout": 0.2}], ids=["plain", "dropout"])
def test_a_resumed_run_ends_as_an_unbroken_one(base: Path, lora: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(base, tmp_path / "whole", lora=lora, save_steps=2)
    broken = tmp_path / "broken"
    shutil.copytree(whole.folder, broken)
    shutil.rmtree(broken / "checkpoint-4")
    (broken / "result.json").unlink()
    again = trained(base, broken, lora=lora, save_steps=2)
    for file in ("training/masters.safetensors", "training/optimizer.safetensors", "model.safetensors"):
        one, other = load_file(saved(again) / file), load_file(saved(whole) / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), file
    assert (again.folder / "records.jsonl").read_text() == (whole.folder / "records.jsonl").read_text()
    masters = load_file(saved(again) / "training" / "masters.safetensors")
    assert {tensor.dtype for tensor in masters.values()} == {torch.float32}
    assert all(".lora_A." in name or ".lora_B." in name for name in masters)


def test_the_plan_shows_the_adapters_and_what_stays(base: Path) -> None:
    planned = plan(check(values(base), source="test"))
    adapters = 2 * 4 * (4 * (16 + 16) + 3 * (16 + 24))
    assert planned.label == "full, LoRA r=4"
    assert planned.selected.n_parameters == adapters
    learning = {row.role: row.n_parameters for row in planned.selected.rows()}
    assert learning == {"attention": 1024, "mlp": 960, "norm": 0, "embedding": 0, "head": 0}
    assert planned.to_json()["trainable"]["n_trainable"] == adapters
    assert any("embedding 1, norm 5, head 1" in note for note in planned.warnings)
    attention = plan(check(values(base, trainable="attention"), source="test"))
    assert not any("lora" in note for note in attention.warnings)
    assert planned.memory.training == 3 * 4 * adapters


def test_a_selection_without_linear_layers_is_refused_with_its_names(base: Path) -> None:
    with pytest.raises(SelectionError, match=r"selects none: model\.layers\.0\.input_layernorm\.weight"):
        plan(check(values(base, trainable="norm"), source="test"))


def test_adapters_are_refused_in_a_sharded_job(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "sharded", lambda: True)
    with pytest.raises(UserError, match="cannot be sharded"):
        trained(base, tmp_path / "run")


def test_the_reference_of_a_budget_trains_the_weights_themselves(base: Path) -> None:
    budget = {"steps": 6, "match": "trainable", "reference": "attention"}
    asked = check(values(base, trainable="attention", budget=budget), source="test")
    planned = plan(asked)
    plain = plan(check(values(base, trainable="attention", budget=budget, lora=None), source="test"))
    # Half as many scalars learn (rank 4 of 16 x 16), so twice the steps.
    assert plain.steps == 6
    assert planned.steps == 12
    assert asked.hash() != check(values(base, trainable="attention", budget={"steps": 6}), source="test").hash()


@pytest.mark.slow
def test_a_step_with_checkpointed_activations_is_the_same_step(base: Path, finished: RunResult, tmp_path: Path) -> None:
    again = trained(base, tmp_path / "run", gradient_checkpointing=True, save_steps=2)
    one, other = weights(saved(finished)), weights(saved(again))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-3)
