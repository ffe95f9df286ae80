"""A tiny base model folder that every verb can use: random weights, the words of the points game, an exposure card."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

from holdfast.environments.general_points.vocabulary import vocabulary_texts
from holdfast.models.word_tokenizer import build

EXPOSURE = {
    "environments": {
        "general_points": {
            "lowest": 1, "highest": 13, "targets": [24], "held_out_rules": ["faces_as_5_7_9"],
            "frequent_rules": {"faces_as_11_12_13": 0.1},
        }
    }
}  # fmt: skip


def write(folder: Path, *, seed: int = 0, hidden_size: int = 16) -> Path:
    """Write a Llama of two blocks, of about 30,000 weights by default; the same one for the same seed."""
    tokenizer = build(vocabulary_texts(), numbers=40, positions=256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=hidden_size, intermediate_size=24, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "exposure.json").write_text(json.dumps(EXPOSURE))
    return folder
