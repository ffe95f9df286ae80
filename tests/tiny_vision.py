"""Tiny random vision-language models with the library's real processors, as folders that every verb can use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from holdfast.environments.general_points.prompts import PICTURE_STYLES
from holdfast.environments.general_points.vocabulary import vocabulary_texts
from holdfast.models.word_tokenizer import build

# As published chat templates do: a message is a string, or a list of parts of which an image is a placeholder.
TEMPLATE = """{{- bos_token -}}
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- else -%}{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- 'PLACEHOLDER' -}}{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- if message['role'] == 'assistant' -%}{{- '<|end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"""
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
POSITIONS = 512


def _tokenizer(placeholder: str, special: list[str]) -> Any:
    tokenizer = build([*vocabulary_texts(), *PICTURE_STYLES.values()], numbers=40, positions=POSITIONS)
    tokenizer.add_special_tokens({"bos_token": "<|bos|>", "additional_special_tokens": special})
    tokenizer.chat_template = TEMPLATE.replace("PLACEHOLDER", placeholder)
    return tokenizer


def _save(folder: Path, config: Any, tokenizer: Any, processor: dict[str, Any]) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    # Scalar gates of zero would hide the images, and all gradients of what sees them.
    for name, parameter in model.named_parameters():
        if "gate" in name and parameter.numel() == 1:
            torch.nn.init.constant_(parameter, 0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def write_mllama(folder: Path) -> Path:
    """Write an Mllama of five blocks, two of which attend to the image alone; images are four tiles of 16 pixels."""
    tokenizer = _tokenizer("<|image|>", ["<|image|>"])
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    assert image == len(tokenizer) - 1  # as published: the image token is the first of the extra rows
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    text = transformers.MllamaTextConfig(
        **SMALL, **ids, eos_token_id=tokenizer.eos_token_id, vocab_size=image, num_hidden_layers=5,
        cross_attention_layers=[1, 3], max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    vision = transformers.MllamaVisionConfig(
        hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_global_layers=1, attention_heads=2,
        image_size=16, patch_size=8, intermediate_layers_indices=[0], vision_output_dim=32,
    )  # fmt: skip
    config = transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=image)
    return _save(
        folder, config, tokenizer,
        {
            "processor_class": "MllamaProcessor", "image_processor_type": "MllamaImageProcessor",
            "size": {"height": 16, "width": 16}, "max_image_tiles": 4,
        },
    )  # fmt: skip


def write_qwen(folder: Path) -> Path:
    """Write a Qwen2.5-VL of two blocks; an image becomes 16 patches of 8 pixels, merged four by four."""
    special = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = _tokenizer("<|vision_start|><|image_pad|><|vision_end|>", special)
    start, end, image, video = tokenizer.convert_tokens_to_ids(special)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **SMALL, **ids, "vocab_size": len(tokenizer), "num_hidden_layers": 2,
            "max_position_embeddings": POSITIONS,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0},
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 20, "depth": 2, "num_heads": 2, "out_hidden_size": 16,
            "patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1],
        },
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
        tie_word_embeddings=False,
    )  # fmt: skip
    return _save(
        folder, config, tokenizer,
        {
            "processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": 8, "merge_size": 2, "size": {"shortest_edge": 32 * 32, "longest_edge": 32 * 32},
        },
    )  # fmt: skip


WRITERS = {"mllama": write_mllama, "qwen2_5_vl": write_qwen}
