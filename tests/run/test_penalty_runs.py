"""A penalty on the update in whole runs: what it keeps, what is logged and spent, what is resumed and refused."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file

import tiny_base
from holdfast.cli.console import show_plan
from holdfast.errors import RecipeError, SelectionError, UserError
from holdfast.plan import check, plan
from holdfast.recipe import Recipe
from holdfast.run import observer, run, story
from holdfast.spectral.update import Update
from holdfast.train.progress import Silent

UNION = {"name": "union", "k": 0.25, "strength": 3.0}
TASK = {"environment": "first_letter:FirstLetter", "rule": "early"}
METHODS: dict[str, Any] = {
    "dpo": {"name": "dpo", "problems": 16, "samples": 16, "max_new_tokens": 12},
    "grpo": {"name": "grpo", "num_generations": 4, "max_new_tokens": 4, "temperature": 2.0},
    "ppo": {"name": "ppo", "num_ppo_epochs": 1, "max_new_tokens": 4, "value_hidden": 8, "temperature": 2.0},
}


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Figures take longer than the runs; and directions are cached here."""
    monkeypatch.setattr(observer.report, "write", lambda *_: None)
    monkeypatch.setattr(observer.report, "write_card", lambda *_: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "given"
    folder.mkdir()
    rows = [{"prompt": "numbers " * (1 + n % 5), "completion": "cards " * (1 + n % 4)} for n in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "model_name_or_path": str(tiny_base.write(folder / "base")),
        "attn_implementation": "eager",
        "data": {"path": str(folder / "rows.jsonl")},
        "evaluate_at": "end",
        "budget": {"steps": 6},
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
    }


def recipe(values: Mapping[str, Any], penalty: Any, **changes: Any) -> Recipe:
    return check({**values, "penalty": penalty, **changes}, source="test", allow_code=True)


def logs(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


def masters(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("checkpoint-*")) / "training" / "masters.safetensors")


def union_of(values: Mapping[str, Any], folder: Path) -> float:
    """Return the mean over matrices of the union block's share of ‖W_0‖², from the files."""
    base, parts = load_file(Path(values["model_name_or_path"]) / "model.safetensors"), []
    for name, weight in masters(folder).items():
        if ".layers." in name and weight.ndim == 2:
            update = Update(base[name].double(), weight.double())
            left, _, right = update.leading(0.25)
            blocks = update.left(left), update.right(right), left.T @ update.right(right)
            one, two, both = (float(block.square().sum()) for block in blocks)
            parts.append((one + two - both) / update.base_energy)
    return sum(parts) / len(parts)


@pytest.mark.slow
def test_a_penalized_run_stays_nearer_to_the_base_there_and_tells_how_near(
    values: dict[str, Any], tmp_path: Path
) -> None:
    plain, zero, kept = (
        run(recipe(values, penalty), folder=tmp_path / name).folder
        for name, penalty in (("plain", None), ("zero", {**UNION, "strength": 0}), ("kept", UNION))
    )
    # Strength 0 only measures.
    told = logs(zero)
    measured = [line.pop("subspace_penalty") for line in told]
    assert told == logs(plain)
    assert all(torch.equal(weight, masters(plain)[name]) for name, weight in masters(zero).items())
    penalized = [line["subspace_penalty"] for line in logs(kept)]
    assert measured[0] == penalized[0] == 0.0
    assert measured[1] == penalized[1] > 0  # the first step is the base's, which has nothing to be penalized for
    assert 0 < penalized[-1] < measured[-1] / 3
    # What is logged is what the files say, a step later.
    assert union_of(values, kept) == pytest.approx(penalized[-1], rel=0.5)
    assert union_of(values, kept) < union_of(values, zero) / 3
    (further,) = logs(
        run(recipe(values, {**UNION, "strength": 0}, budget={"steps": 7}), folder=tmp_path / "far").folder
    )[-1:]
    assert further["subspace_penalty"] == pytest.approx(union_of(values, zero), rel=1e-4)


class Interrupting(Silent):
    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_broke_off_goes_on_from_its_own_base_bit_for_bit(values: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe(values, UNION)
    whole, broken = run(asked, folder=tmp_path / "whole").folder, tmp_path / "broken"
    assert run(asked, folder=broken, progress=Interrupting()).status == "interrupted"
    assert run(asked, folder=broken).status == "finished"
    assert logs(broken) == logs(whole)
    ended = masters(whole)
    found = load_file(broken / "checkpoint-6" / "training" / "masters.safetensors")
    assert all(torch.equal(found[name], ended[name]) for name in ended)


@pytest.mark.slow
@pytest.mark.parametrize(("on", "lora"), [(None, None), (None, {"r": 2}), ("attention", None)])
def test_a_run_spends_what_was_planned(on: Any, lora: Any, values: dict[str, Any], tmp_path: Path) -> None:
    budget = {"steps": 3, "match": "flops", "reference": "attention"}
    asked = recipe(values, {**UNION, "on": on}, budget=budget, lora=lora)
    planned = plan(asked)
    told = json.loads((run(asked, folder=tmp_path / "run", planned=planned).folder / "result.json").read_text())
    assert told["spent"]["flops"] == planned.total.flops
    assert planned.penalty is not None
    assert planned.penalty.flops > 0
    assert len(planned.penalty.names) == (14 if on is None else 8)


def test_a_plan_counts_it_once_a_step_and_process_in_flops_and_memory(values: dict[str, Any]) -> None:
    plain, one, two = (
        plan(recipe(values, penalty), num_processes=count, sharded=False)
        for penalty, count in ((None, 2), (UNION, 1), (UNION, 2))
    )
    assert plain.penalty is None
    assert one.penalty is not None
    assert two.penalty is not None
    assert two.penalty.flops == 2 * one.penalty.flops
    assert two.step.flops == plain.step.flops + two.penalty.flops
    assert two.step.flops_6nd == plain.step.flops_6nd
    assert plain.memory.penalty == 0
    # Of each matrix a copy in bfloat16; of 16 x 16 ones 4 directions, of 24 x 16 ones too, and three blocks.
    square, wide = (2 * 16 * n + 4 * (2 * (16 + n) * 4 + 4 * 4) for n in (16, 24))
    assert one.memory.penalty == 8 * square + 6 * wide
    assert one.to_json()["penalty"] == {"tensors": 14, "flops_per_step": one.penalty.flops}
    shown = Console(width=200, file=io.StringIO())
    show_plan(shown, one)
    share = f"{100 * one.penalty.flops / one.step.flops:.2g} %"
    assert f"union of 14 tensors, k 0.25, strength 3, {share} of the FLOPs" in shown.file.getvalue()  # type: ignore[attr-defined]


def test_without_it_a_recipe_is_what_it_was_and_with_it_another(values: dict[str, Any]) -> None:
    plain = recipe(values, None)
    assert "penalty" not in plain.identity()
    assert plain.hash() == check(values, source="test").hash()
    assert len({plain.hash(), recipe(values, UNION).hash(), recipe(values, {**UNION, "strength": 0}).hash()}) == 3


def faults(values: Mapping[str, Any], penalty: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        recipe(values, penalty)
    return {fault.where: f"{fault.problem}. {fault.fix}" for fault in caught.value.faults}


def test_every_fault_of_its_block_is_told_by_name(values: dict[str, Any]) -> None:
    found = faults(values, {"name": "onion", "k": 1.5, "strength": -1, "normalise": False, "on": "atention"})
    assert 'Did you mean "union"?' in found["penalty.name"]
    assert "must be a share in (0, 1] or a whole number" in found["penalty.k"]
    assert "greater than or equal to 0" in found["penalty.strength"]
    assert 'Did you mean "normalize"?' in found["penalty.normalise"]
    assert 'Did you mean "attention"?' in found["penalty.on"]
    assert set(faults(values, {})) == {"penalty.name"}
    assert set(faults(values, {"name": "core", "k": "many"})) == {"penalty.k"}
    assert "Its keys: name, k, strength, normalize, on." in faults(values, "union")["penalty"]


def test_a_penalty_on_what_does_not_learn_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match=r"no matrix in the decoder's blocks learns under trainable: norm"):
        plan(recipe(values, UNION, trainable="norm"))
    with pytest.raises(SelectionError, match=r"that penalty\.on selects \(mlp\) learns under trainable: attention"):
        plan(recipe(values, {**UNION, "on": "mlp"}, trainable="attention"))
    assert plan(recipe(values, {**UNION, "on": "embedding"})).penalty is not None


def test_a_sharded_job_refuses_it(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "sharded", lambda: True)
    with pytest.raises(UserError, match=r"penalty: a model that is sharded \(FSDP\) has no penalty yet"):
        run(recipe(values, UNION), folder=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_it(method: str, values: dict[str, Any], tmp_path: Path) -> None:
    changes = {"method": METHODS[method], "data": {**TASK, "size": 64}, "budget": {"steps": 2}}
    base = transformers.AutoModelForCausalLM.from_pretrained(values["model_name_or_path"])
    base.get_output_embeddings().weight.data[base.config.eos_token_id] *= 60  # so that drawn answers end
    base.save_pretrained(values["model_name_or_path"])
    asked = recipe(values, UNION, per_device_train_batch_size=8, **changes)
    folder = run(asked, folder=tmp_path / "run", allow_code=True).folder
    assert [line["subspace_penalty"] > 0 for line in logs(folder)] == [False, True]
