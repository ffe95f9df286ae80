"""Teacher-forced answers: the argmax at every place, given the true tokens before it."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

import pytest
import torch

import tiny_models
from holdfast.data.encode import Encoded
from holdfast.errors import DataError, UserError
from holdfast.rollout.forced import argmax_replies

TOKENIZER = SimpleNamespace(pad_token_id=0)


def _rows(count: int, *, seed: int = 0, common: int = 6) -> list[Encoded]:
    random = Random(f"forced {seed}")
    head = [random.randrange(3, 90) for _ in range(common)]
    rows = []
    for _ in range(count):
        own = [random.randrange(3, 90) for _ in range(random.randrange(1, 6))]
        answer = [random.randrange(3, 90) for _ in range(random.randrange(1, 5))]
        rows.append(Encoded((*head, *own, *answer), common + len(own)))
    return rows


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_each_row_alone_gives_the_same_tokens(architecture: str) -> None:
    model, rows = tiny_models.build(architecture), _rows(7)
    expected = []
    for row in rows:
        with torch.no_grad():
            logits_TV = model(torch.tensor([row.input_ids])).logits[0]
        expected.append(logits_TV[row.n_prompt - 1 : -1].argmax(-1).tolist())
    assert argmax_replies(model, TOKENIZER, rows, batch_size=3, compute_dtype=torch.float32) == expected


def test_modes_are_left_as_they_were() -> None:
    model = tiny_models.build("llama").train()
    model.model.layers[1].eval()
    before = [module.training for module in model.modules()]
    argmax_replies(model, TOKENIZER, _rows(2), batch_size=2, compute_dtype=torch.bfloat16)
    assert [module.training for module in model.modules()] == before


def test_a_row_beyond_the_models_positions_is_refused() -> None:
    row = Encoded(tuple(range(3, 70)), 60)
    with pytest.raises(DataError, match="row 0 has 67 tokens, and the model 64 positions"):
        argmax_replies(tiny_models.build("llama"), TOKENIZER, [row], batch_size=2, compute_dtype=torch.float32)


def test_no_rows_give_no_answers() -> None:
    assert argmax_replies(tiny_models.build("llama"), TOKENIZER, [], batch_size=2, compute_dtype=torch.float32) == []


def test_shared_prefixes_change_no_token_and_fall_back_where_they_would_be_wrong() -> None:
    rows = _rows(32, common=30)
    for architecture in ("qwen2", "gemma2", "mamba2"):
        model = tiny_models.build(architecture)
        shared, padded = (
            argmax_replies(model, TOKENIZER, rows, batch_size=16, compute_dtype=torch.float32, share=share)
            for share in ("auto", "never")
        )
        assert shared == padded
    with pytest.raises(UserError, match="Mamba2ForCausalLM has blocks that carry a state"):
        argmax_replies(model, TOKENIZER, rows, batch_size=16, compute_dtype=torch.float32, share="always")


def test_auto_computes_a_common_beginning_once() -> None:
    rows, model = _rows(16, common=30), tiny_models.build("llama")
    computed = []
    handle = model.model.layers[0].mlp.register_forward_hook(
        lambda _m, args, _o: computed.append(args[0][..., 0].numel())
    )
    with handle:
        argmax_replies(model, TOKENIZER, rows, batch_size=16, compute_dtype=torch.float32)
    # After the padded and the shared way on the four rows that prove the model.
    assert sum(computed[3:]) < 0.5 * 16 * max(len(row.input_ids) for row in rows)
