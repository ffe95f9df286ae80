"""Answers to prompts that begin alike: the same tokens for less prefilling."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
import transformers as hf

import tiny_models
from holdfast.data.encode import Encoded
from holdfast.errors import UserError
from holdfast.models import word_tokenizer
from holdfast.recipe import Decoding
from holdfast.rollout.generate import Reply, generate_from

TOKENIZER = word_tokenizer.build(["a few words"])
WINDOWED = {
    "mistral window": lambda: hf.MistralConfig(**tiny_models.DENSE, **tiny_models.HEAD_DIM, sliding_window=7),
    "gemma3 window": lambda: hf.Gemma3TextConfig(
        **tiny_models.DENSE, **tiny_models.HEAD_DIM, sliding_window=7, query_pre_attn_scalar=8
    ),
}


def build(name: str) -> Any:
    if name not in WINDOWED:
        return tiny_models.build(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(WINDOWED[name](), dtype=torch.float32).eval()


def prompts() -> list[Encoded]:
    random = Random(0)
    heads = [[random.randrange(5, 88) for _ in range(length)] for length in (30, 19)]
    found = []
    for number in range(12):
        ids = [*heads[number % 3 % 2], *(random.randrange(5, 88) for _ in range(1 + number % 5))]
        found.append(Encoded(tuple(ids), len(ids)))
    return found


def answers(
    model: Any, asked: list[Encoded], share: Any, *, temperature: float = 0.0, batch_size: int = 6
) -> list[Reply]:
    decoding = Decoding(max_new_tokens=9, temperature=temperature)
    return generate_from(
        model, TOKENIZER, asked, decoding, batch_size=batch_size, compute_dtype=torch.float32, share=share, seed=3
    )


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox", "deepseek_v3", "qwen2_5_vl", *WINDOWED])
def test_shared_prompts_get_the_answers_of_padded_ones(name: str) -> None:
    model, asked = build(name), prompts()
    assert answers(model, asked, "always") == answers(model, asked, "never")


def test_drawn_answers_are_the_same_draws() -> None:
    model, asked = build("llama"), prompts()
    assert answers(model, asked, "always", temperature=1.0) == answers(model, asked, "never", temperature=1.0)


def test_what_all_prompts_begin_with_is_computed_once() -> None:
    model = build("llama")
    head = tuple(Random(1).randrange(5, 88) for _ in range(50))
    asked = [Encoded((*head, 5 + n), 51) for n in range(12)]
    answers(model, asked, "auto", batch_size=12)  # proves the model
    computed = list[int]()
    with model.model.layers[0].mlp.register_forward_hook(lambda _m, args, _o: computed.append(args[0][..., 0].numel())):
        answers(model, asked, "auto", batch_size=12)
    assert computed[:3] == [49, 12, 12]  # the head but for its last token; that token; the prompts' last tokens


def test_state_space_models_are_left_to_transformers_or_refused() -> None:
    model, asked = build("mamba2"), prompts()
    assert answers(model, asked, "auto") == answers(model, asked, "never")
    with pytest.raises(UserError, match="carry a state"):
        answers(model, asked, "always")
