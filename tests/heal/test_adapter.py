"""A healing as a PEFT adapter on the tuned model computes what the healed model computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

import tiny_pair
from holdfast.errors import UserError
from holdfast.heal.adapter import write_adapter
from holdfast.heal.write import write_checkpoint
from tiny_pair import Folders

peft = pytest.importorskip("peft")
IDS = torch.arange(3, 19).reshape(2, 8)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing. is deprecated.*:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize(
    ("architecture", "healing"),
    [
        ("llama", {"name": "union", "k": 0.3, "strength": 0.7}),
        ("gpt2", {"name": "union", "k": 0.3}),
        ("qwen2", {"name": "core", "k": 3, "on": {"preset": "full", "layers": "first:2"}}),
        ("phi3", {"name": "union_keep_values", "k": 0.2, "on": "attention"}),
        ("mixtral", {"name": "head_tail", "on": "attention"}),
    ],
)
def test_an_adapter_on_the_tuned_model_answers_as_the_healed_one(
    architecture: str, healing: Any, tmp_path: Path
) -> None:
    made = tiny_pair.write(tmp_path / "pair", architecture)
    operation = made.operation(**healing)
    told = write_adapter(operation, tmp_path / "adapter").summary
    healed = write_checkpoint(operation, tmp_path / "healed")
    assert told == healed.summary
    tuned = hf.AutoModelForCausalLM.from_pretrained(made.tuned)
    before = logits(tuned)
    adapted = peft.PeftModel.from_pretrained(tuned, tmp_path / "adapter")
    expected = logits(hf.AutoModelForCausalLM.from_pretrained(healed.folder))
    assert torch.allclose(logits(adapted), expected, atol=2e-6)
    assert not torch.allclose(before, expected, atol=2e-5)
    with adapted.disable_adapter():
        assert torch.allclose(logits(adapted), before, atol=1e-6)
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in hf.AutoModelForCausalLM.from_pretrained(healed.folder).state_dict().items():
        assert torch.allclose(merged[name], tensor, atol=1e-6), name


def test_ranks_differ_by_layer_and_the_scale_is_one(tmp_path: Path) -> None:
    made = tiny_pair.write(tmp_path / "pair")
    write_adapter(made.operation(name="union", k=0.5), tmp_path / "adapter")
    facts = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert facts["base_model_name_or_path"] == str(made.tuned)
    assert facts["r"] == facts["lora_alpha"]
    assert facts["rank_pattern"] == facts["alpha_pattern"]
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    ranks = {tensor.shape[0] for name, tensor in stored.items() if "lora_A" in name}
    assert ranks == {8, 16}  # twice half of the smaller side: 16 by 16 and wider, or 8 by 16 (keys and values)
    assert len(facts["rank_pattern"]) == 6
    assert json.loads((tmp_path / "adapter" / "heal.json").read_text())["healing"]["name"] == "union"


@pytest.mark.parametrize(
    ("architecture", "healing", "said"),
    [
        ("llama", {"name": "interpolate"}, "no product of low rank"),
        ("mixtral", {"name": "union"}, r"experts\.0\.w.\.weight is not the weight of a linear layer .*--on attention"),
        (
            "qwen2",
            {"name": "union", "on": {"roles": ["embedding"]}},
            r"embed_tokens\.weight is not the weight of a lin",
        ),
        ("llama", {"name": "intruders"}, "touches nothing, so there is no adapter"),
        ("llama", {"name": "union", "strength": 0}, "touches nothing, so there is no adapter"),
    ],
)
def test_what_no_adapter_can_hold_is_refused(architecture: str, healing: Any, said: str, tmp_path: Path) -> None:
    made: Folders = tiny_pair.write(tmp_path / "pair", architecture)
    with pytest.raises(UserError, match=said):
        write_adapter(made.operation(**healing), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]
