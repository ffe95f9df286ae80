"""vLLM against Transformers on tiny models; skipped where vLLM is not installed."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from holdfast.data.encode import Encoded, questions
from holdfast.errors import DataError, UserError
from holdfast.models import word_tokenizer
from holdfast.models.adapters import adapt, adapters
from holdfast.models.compute import exported
from holdfast.recipe import Decoding, Lora
from holdfast.records import Message
from holdfast.rollout import vllm_extra
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.rollout.generate import Reply
from holdfast.rollout.vllm_answerer import Vllm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(vllm_extra.missing() is not None, reason=f"vLLM is not installed: {vllm_extra.missing()}"),
]

TOKENIZER = word_tokenizer.build(["one two three four five six seven eight nine ten"], numbers=10)
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GREEDY, HOT = Decoding(max_new_tokens=24), Decoding(max_new_tokens=24, temperature=1.0, top_p=0.9)
SHAPE = {
    "vocab_size": len(TOKENIZER), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 64,
    "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": TOKENIZER.eos_token_id,
    "pad_token_id": TOKENIZER.pad_token_id,
}  # fmt: skip


def tiny(config: Any) -> Any:
    """A random model whose logits spread widely, and which ends an answer now and then."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            head = model.get_output_embeddings().weight
            head[TOKENIZER.eos_token_id] = head[5:].mean(0) + 2 * head.std() * torch.randn(head.shape[1])
    return model


def saved(config: Any, folder: Path) -> Path:
    tiny(config).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def prompts(count: int, *, longest: int = 12) -> list[Encoded]:
    stream = random.Random(3)
    said = [" ".join(stream.choices(WORDS, k=stream.randint(1, longest))) for _ in range(count)]
    return questions(TOKENIZER, [(Message(role="user", content=words),) for words in said])


def ask(who: Answerer, model: Any, asked: list[Encoded], decoding: Decoding = GREEDY, *, seed: int = 0) -> list[Reply]:
    return who.replies(model, TOKENIZER, asked, decoding, batch_size=8, compute_dtype=torch.float32, seed=seed)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    folder = saved(hf.LlamaConfig(**SHAPE), tmp_path_factory.mktemp("vllm") / "base")
    made = Vllm(folder, dtype=torch.float32, device_type="cpu", gpu_memory_utilization=0.3)
    yield made
    made.close()


@pytest.fixture
def model() -> Any:
    return tiny(hf.LlamaConfig(**SHAPE))


def test_greedy_replies_are_those_of_transformers_finished_or_cut_off(vllm: Vllm, model: Any) -> None:
    asked = prompts(60, longest=50)
    ours, theirs = ask(TRANSFORMERS, model, asked), ask(vllm, model, asked)
    assert ours == theirs
    assert {reply.finished for reply in theirs} == {True, False}
    # Some were cut off by the model's positions and not by the cap.
    assert any(not reply.finished and reply.n_tokens < GREEDY.max_new_tokens for reply in theirs)


def test_sampled_replies_depend_on_seed_and_prompt_and_neither_on_order_nor_on_neighbors(
    vllm: Vllm, model: Any
) -> None:
    # Equal prompts are told apart by their order.
    asked = list({prompt.prompt_ids: prompt for prompt in prompts(40)}.values())
    first, again = ask(vllm, model, asked, HOT), ask(vllm, model, asked, HOT)
    assert first == again
    assert ask(vllm, model, asked[::-1], HOT)[::-1] == first
    assert [ask(vllm, model, [one], HOT)[0] for one in asked[:5]] == first[:5]
    assert ask(vllm, model, asked, HOT, seed=1) != first
    assert len({reply.token_ids for reply in ask(vllm, model, asked[:1] * 20, HOT)}) > 10


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_the_first_token_is_drawn_from_the_distribution_that_temperature_and_nucleus_leave(
    top_p: float, vllm: Vllm, model: Any
) -> None:
    asked, n = prompts(1)[0], 3_000
    decoding = Decoding(max_new_tokens=1, temperature=1.3, top_p=top_p)
    drawn = Counter(reply.token_ids[0] for reply in ask(vllm, model, [asked] * n, decoding))
    with torch.no_grad():
        p, order = (model(torch.tensor([asked.prompt_ids])).logits[0, -1] / 1.3).softmax(-1).sort(descending=True)
    kept = int(((p.cumsum(-1) - p) < top_p).sum())
    share = p[:kept] / p[:kept].sum()
    assert set(drawn) <= set(order[:kept].tolist())
    for token, expected in zip(order[:kept].tolist(), share.tolist(), strict=True):
        assert abs(drawn[token] / n - expected) < 4.5 * math.sqrt(expected * (1 - expected) / n) + 1e-3


def test_replies_are_those_of_the_weights_as_they_are_now(vllm: Vllm, model: Any) -> None:
    asked = prompts(20)
    before = ask(vllm, model, asked)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    changed = ask(vllm, model, asked)
    assert changed == ask(TRANSFORMERS, model, asked) != before
    # Fused optimizers do not count the versions of the tensors that they write.
    weight = model.lm_head.weight
    optimizer = torch.optim.AdamW([weight], lr=0.3, fused=True)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert ask(vllm, model, asked) == ask(TRANSFORMERS, model, asked) != changed
    with exported(model, torch.bfloat16):
        rounded = ask(vllm, model, asked)
        assert rounded == ask(TRANSFORMERS, model, asked)
    assert ask(vllm, model, asked) == ask(TRANSFORMERS, model, asked)


def test_weights_that_did_not_change_are_handed_over_once(
    vllm: Vllm, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[str] = []
    real = vllm._llm.collective_rpc
    monkeypatch.setattr(vllm._llm, "collective_rpc", lambda name, **more: (handed.append(name), real(name, **more))[1])
    for _ in range(3):
        ask(vllm, model, prompts(4))
    assert len(handed) == 1
    with exported(model, torch.float32):  # nothing to cast: the same weights
        ask(vllm, model, prompts(4))
    assert len(handed) == 1


def test_adapters_are_merged_into_what_vllm_gets(vllm: Vllm, model: Any) -> None:
    pytest.importorskip("peft")
    asked, names = prompts(20), ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    plain = ask(vllm, model, asked)
    adapt(model, names, lora=Lora(r=4), seed=0)
    for adapter in adapters(model):
        torch.nn.init.normal_(adapter.layer.lora_B["holdfast"].weight, generator=torch.Generator().manual_seed(1))
    with_adapters = ask(vllm, model, asked)
    with exported(model, torch.float32):
        assert with_adapters == ask(TRANSFORMERS, model, asked) != plain


def test_random_state_threads_and_modes_are_left_alone(vllm: Vllm, model: Any) -> None:
    model.train()
    torch.manual_seed(5)
    random.seed(5)
    state, threads, setter = torch.get_rng_state(), torch.get_num_threads(), torch.set_num_threads
    ask(vllm, model, prompts(4), HOT)
    assert torch.equal(state, torch.get_rng_state())
    assert random.random() == random.Random(5).random()
    assert (torch.get_num_threads(), torch.set_num_threads) == (threads, setter)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_prompts_without_room_are_refused_in_the_same_words(
    vllm: Vllm, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [Encoded((7,) * 64, 64)]
    for who in (TRANSFORMERS, vllm):
        with pytest.raises(DataError, match="conversation 0 has 64 tokens, and the model 64 positions"):
            ask(who, model, full)
    monkeypatch.setattr(Vllm, "longest", 20)
    with pytest.raises(UserError, match=r"room for 20 tokens a row, and .* vllm_gpu_memory_utilization"):
        ask(vllm, model, prompts(4))


def test_progress_hears_of_the_end(vllm: Vllm, model: Any) -> None:
    heard: list[tuple[int, int]] = []
    vllm.replies(
        model, TOKENIZER, prompts(3), GREEDY,
        batch_size=8, compute_dtype=torch.float32, progress=lambda done, of: heard.append((done, of)),
    )  # fmt: skip
    assert heard == [(3, 3)]
    assert ask(vllm, model, []) == []


def test_weights_that_do_not_arrive_are_noticed(vllm: Vllm, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = vllm._llm.collective_rpc

    def without_the_last_block(name: str, *, kwargs: dict[str, Any]) -> Any:
        left = ((key, value) for key, value in kwargs["weights_iterator"] if ".layers.1." not in key)
        return real(name, kwargs={"weights_iterator": left})

    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(-1)
    monkeypatch.setattr(vllm._llm, "collective_rpc", without_the_last_block)
    with pytest.raises(UserError, match=r"did not arrive whole. Write generate_with: transformers"):
        ask(vllm, model, prompts(4))
    monkeypatch.setattr(vllm._llm, "collective_rpc", real)
    assert ask(vllm, model, prompts(4)) == ask(TRANSFORMERS, model, prompts(4))
