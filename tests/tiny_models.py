"""Tiny random models of many architectures, built from configurations in code: nothing is downloaded.

``build("llama")`` gives the same weights at every call. Each model has a hidden size of 16, three to five blocks
and a vocabulary of 96 tokens or a little more, so that a step takes milliseconds on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

VOCABULARY = 96
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DENSE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **SPECIAL,
}
HEAD_DIM = {"head_dim": 8}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 12}
MLLAMA_CROSS_LAYERS = (1, 3)
IMAGE_TOKEN = 90


def _llama() -> Any:
    return hf.LlamaConfig(**DENSE)


def _mistral() -> Any:
    return hf.MistralConfig(**DENSE, **HEAD_DIM)


def _mixtral() -> Any:
    return hf.MixtralConfig(**DENSE, num_local_experts=4, num_experts_per_tok=2)


def _qwen2() -> Any:
    return hf.Qwen2Config(**DENSE, tie_word_embeddings=True)


def _qwen3() -> Any:
    return hf.Qwen3Config(**DENSE, **HEAD_DIM)


def _qwen3_moe() -> Any:
    return hf.Qwen3MoeConfig(**DENSE, **HEAD_DIM, **MOE, num_experts=4, mlp_only_layers=[0])


def _gemma2() -> Any:
    return hf.Gemma2Config(**DENSE, **HEAD_DIM, query_pre_attn_scalar=8, sliding_window=16)


def _gemma3() -> Any:
    text = hf.Gemma3TextConfig(**DENSE, **HEAD_DIM, query_pre_attn_scalar=8, sliding_window=16)
    vision = hf.SiglipVisionConfig(
        hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
    )
    return hf.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=IMAGE_TOKEN,
        boi_token_index=91, eoi_token_index=92, **SPECIAL,
    )  # fmt: skip


def _phi3() -> Any:
    return hf.Phi3Config(**DENSE)


def _gpt2() -> Any:
    return hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=4, n_positions=64, **SPECIAL)


def _gpt_neox() -> Any:
    return hf.GPTNeoXConfig(**{key: value for key, value in DENSE.items() if key != "num_key_value_heads"})


def _olmo2() -> Any:
    return hf.Olmo2Config(**DENSE)


def _deepseek_v3() -> Any:
    return hf.DeepseekV3Config(
        **{**DENSE, "num_key_value_heads": 4}, **MOE, n_routed_experts=4, n_shared_experts=1, n_group=2, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=4,
    )  # fmt: skip


def _mamba2() -> Any:
    return hf.Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=3, num_heads=4, head_dim=8, state_size=8, n_groups=2,
        chunk_size=8, **SPECIAL,
    )  # fmt: skip


def _jamba() -> Any:
    return hf.JambaConfig(
        **{**DENSE, "num_hidden_layers": 4}, num_experts=4, attn_layer_period=2, attn_layer_offset=1,
        expert_layer_period=2, expert_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4,
    )  # fmt: skip


def _mllama() -> Any:
    text = hf.MllamaTextConfig(
        **{**DENSE, "num_hidden_layers": 5}, cross_attention_layers=list(MLLAMA_CROSS_LAYERS),
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )  # fmt: skip
    vision = hf.MllamaVisionConfig(
        hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_global_layers=1, attention_heads=2,
        image_size=16, patch_size=8, intermediate_layers_indices=[0], vision_output_dim=32,
    )  # fmt: skip
    return hf.MllamaConfig(text_config=text, vision_config=vision, image_token_index=VOCABULARY)


def _qwen2_5_vl() -> Any:
    text = {
        **DENSE,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 10_000.0},
    }
    vision = {
        "hidden_size": 16, "intermediate_size": 20, "depth": 2, "num_heads": 2, "out_hidden_size": 16, "patch_size": 4,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return hf.Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=IMAGE_TOKEN, video_token_id=91,
        vision_start_token_id=92, vision_end_token_id=93, **SPECIAL,
    )  # fmt: skip


CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "olmo2": _olmo2,
    "deepseek_v3": _deepseek_v3,
    "mamba2": _mamba2,
    "jamba": _jamba,
    "mllama": _mllama,
    "qwen2_5_vl": _qwen2_5_vl,
}
VISION = ("gemma3", "mllama", "qwen2_5_vl")


def build(architecture: str, *, seed: int = 0, device: str = "cpu") -> Any:
    """Return a tiny float32 model in eval mode; the same weights for the same seed.

    Args:
        architecture: A key of ``CONFIGS``.
        seed: Of the random weights. The global generator is left as it was.
        device: ``cpu``, or ``meta`` for shapes without memory.
    """
    kind = hf.AutoModelForImageTextToText if architecture in VISION else hf.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        return kind.from_config(CONFIGS[architecture](), dtype=torch.float32).eval()
