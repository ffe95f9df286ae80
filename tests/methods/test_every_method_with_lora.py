"""Every method takes a step with adapters, and with attention alone, on models of two architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import tiny_base
from holdfast.plan import check, plan
from holdfast.run import observer, run

TASK = {"environment": "first_letter:FirstLetter", "rule": "early"}
DRAWN = {"problems": 16, "samples": 16, "max_new_tokens": 12}
METHODS: dict[str, Any] = {
    "sft": "sft",
    "rft": {"name": "rft", **DRAWN},
    "dpo": {"name": "dpo", **DRAWN},
    "grpo": {"name": "grpo", "num_generations": 4, "max_new_tokens": 4, "beta": 0.1, "temperature": 2.0},
    "ppo": {"name": "ppo", "num_ppo_epochs": 1, "max_new_tokens": 4, "value_hidden": 8, "temperature": 2.0},
}
CHOICES: dict[str, dict[str, Any]] = {
    "lora": {"trainable": "full", "lora": {"r": 2, "alpha": 4}},
    "attention": {"trainable": "attention"},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random Llama, and a random Qwen2 whose head is its embedding, with the same words."""
    llama, qwen2 = (tiny_base.write(tmp_path_factory.mktemp(name) / "base") for name in ("llama", "qwen2"))
    told = json.loads((llama / "config.json").read_text())
    shared = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = transformers.Qwen2Config(
        **{key: told[key] for key in (*shared, "num_key_value_heads", "pad_token_id", "eos_token_id")},
        max_position_embeddings=256,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(qwen2)
    for folder in (llama, qwen2):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        model.get_output_embeddings().weight.data[told["eos_token_id"]] *= 60  # so that drawn answers end
        model.save_pretrained(folder)
    return {"llama": llama, "qwen2": qwen2}


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take longer than the runs, and are of no interest here."""
    monkeypatch.setattr(observer.report, "write", lambda *_: None)
    monkeypatch.setattr(observer.report, "write_card", lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_moves_what_was_chosen_and_nothing_else(
    method: str, architecture: str, choice: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    values = {
        "model_name_or_path": str(bases[architecture]),
        "attn_implementation": "eager",
        "method": METHODS[method],
        **CHOICES[choice],
        "data": {**TASK, "size": 64},
        "evaluate_at": "end",
        "budget": {"steps": 1},
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "per_device_train_batch_size": 8,
        "save_dtype": "float32",
        "logging_steps": 1,
    }
    recipe = check(values, source="test", allow_code=True)
    planned = plan(recipe, allow_code=True)
    folder = run(recipe, folder=tmp_path / "run", planned=planned, allow_code=True).folder
    before, after = (load_file(place / "model.safetensors") for place in (bases[architecture], folder / "checkpoint-1"))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved == set(planned.changing)
    assert all(".self_attn." in name or (choice == "lora" and ".mlp." in name) for name in moved)
    assert (folder / "checkpoint-1" / "adapter").is_dir() == (choice == "lora")
    assert json.loads((folder / "result.json").read_text())["frozen_verified"]
    if method == "sft":
        spent = json.loads((folder / "result.json").read_text())["spent"]
        assert spent["flops"] == planned.total.flops
