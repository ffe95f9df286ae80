"""Shared prefixes: the same gradients as the padded batch, for less; and refused where they would not be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from torch.utils.flop_counter import FlopCounterMode

import tiny_models
from holdfast.data.batches import Batch, collate
from holdfast.data.encode import Encoded
from holdfast.data.prefixes import shared_prefixes
from holdfast.errors import DataError, ModelError
from holdfast.models.compute import compute, recompute_activations, set_masters
from holdfast.models.counting import cost
from holdfast.models.shareable import verify, why_not
from holdfast.models.shared_prefix import KEYS, Layout, sharing
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL

WINDOW = {"sliding_window": 7}
DENSE, HEAD = tiny_models.DENSE, tiny_models.HEAD_DIM
WINDOWED: dict[str, Callable[[], Any]] = {
    "qwen2 window": lambda: hf.Qwen2Config(**DENSE, **WINDOW, use_sliding_window=True, max_window_layers=1),
    "phi3 window": lambda: hf.Phi3Config(**DENSE, **WINDOW),
    "mistral window": lambda: hf.MistralConfig(**DENSE, **HEAD, **WINDOW),
    "gemma2 window": lambda: hf.Gemma2Config(**DENSE, **HEAD, **WINDOW, query_pre_attn_scalar=8),
    "gemma3 window": lambda: hf.Gemma3TextConfig(**DENSE, **HEAD, **WINDOW, query_pre_attn_scalar=8),
}
PLAIN = ("llama", "qwen2", "gpt_neox", "phi3", "gpt2", "mixtral", "deepseek_v3", "mllama", "qwen2_5_vl")


def build(name: str) -> Any:
    if name not in WINDOWED:
        return tiny_models.build(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(WINDOWED[name](), dtype=torch.float32).eval()


def routes() -> list[Encoded]:
    """Rows that branch off two prefixes at several depths, from 10 to 30 tokens: further than any window."""
    random = Random(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(random.randrange(3, 88) for _ in range(count))

    one, other = some(30), some(21)
    prompts = [(*one[: 10 + 5 * step], *some(1)) for step in range(5)] + [(*other, *some(1 + k)) for k in range(3)]
    return [Encoded((*prompt, *some(1 + n % 3)), len(prompt)) for n, prompt in enumerate(prompts)]


def batches(rows: Sequence[Encoded], *, share: bool, size: int = 4) -> list[Batch]:
    cuts = [rows[at : at + size] for at in range(0, len(rows), size)]
    return [replace(collate(cut, pad_token_id=0), prefixes=shared_prefixes(cut) if share else None) for cut in cuts]


def gradients(
    model: Any, some: Sequence[Batch], *, objective: Objective | None = None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the gradient of one step over all micro-batches, float64, flat."""
    model.zero_grad(set_to_none=True)
    base = tiny_models.build("llama") if objective is not None else None
    engine = Engine(model, objective or NLL(), base=base)
    tensors = [batch.tensors() for batch in some]
    totals = engine.totals(tensors)
    for batch in tensors:
        with compute(model, dtype):
            engine.loss(batch, totals).loss.backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", [*PLAIN, *WINDOWED])
def test_gradients_are_those_of_the_padded_batch(name: str) -> None:
    model, rows = build(name), routes()
    for attention in ("sdpa", "eager"):
        if attention == "sdpa" and name.startswith("gemma2"):
            continue  # it has no other attention than eager
        model.set_attn_implementation(attention)
        expected = gradients(model, batches(rows, share=False))
        assert apart(gradients(model, batches(rows, share=True)), expected) < 1e-6
        assert apart(gradients(model, batches(rows, share=True, size=8)), expected) < 1e-6


@pytest.mark.parametrize("part", ["self_attn", "mlp"])
def test_gradients_are_exact_where_only_a_part_learns_in_bfloat16(part: str) -> None:
    """The noise of bfloat16 itself: the gradient of the padded batch differs as much from that of float32."""
    model, rows = tiny_models.build("llama").to(torch.bfloat16), routes()
    set_masters(model, [name for name, _ in model.named_parameters() if part in name])
    exact = gradients(model, batches(rows, share=False))
    padded, shared = (gradients(model, batches(rows, share=share), dtype=torch.bfloat16) for share in (False, True))
    assert len(shared) == len(exact)
    assert apart(shared, exact) < 1.5 * apart(padded, exact)


def test_an_objective_reads_the_base_models_logits_where_they_are() -> None:
    class Contrast(Objective):
        needs = frozenset({"base_logits", "base_logp"})
        uses_vocabulary = True

        def row_loss(self, logits_RV: Any, target_R: Any, base_logits_RV: Any) -> Any:
            return (logits_RV.softmax(-1) - base_logits_RV.softmax(-1)).square().sum(-1) - logits_RV.gather(
                1, target_R[:, None]
            )[:, 0]

    model = tiny_models.build("llama", seed=1)
    padded, shared = (gradients(model, batches(routes(), share=share), objective=Contrast()) for share in (False, True))
    assert apart(shared, padded) < 1e-6


def test_adapters_share_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            tiny_models.build("llama"), peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=generator, std=0.1)
    padded, shared = (gradients(model, batches(routes(), share=share)) for share in (False, True))
    assert apart(shared, padded) < 1e-6


def test_the_model_is_as_before_after_a_failure() -> None:
    model, (batch,) = tiny_models.build("llama"), batches(routes(), share=True, size=8)
    with pytest.raises(KeyError), sharing(model, Layout.of(batch.tensors())):
        raise KeyError
    assert "forward" not in vars(model.model)


def test_a_target_that_a_shared_position_would_predict_is_refused() -> None:
    model, (batch,) = tiny_models.build("llama"), batches(routes(), share=True, size=8)
    tensors = batch.tensors()
    row = int(tensors["prefix_length"].argmax())
    tensors["labels"][row, tensors["prefix_length"][row]] = 5
    with pytest.raises(DataError, match="ends before the prompt"):
        Engine(model, NLL()).totals([tensors])


def test_a_call_on_other_inputs_is_refused_inside() -> None:
    model, (batch,) = tiny_models.build("llama"), batches(routes(), share=True, size=8)
    inputs = {name: x for name, x in batch.tensors().items() if name not in (*KEYS, "labels")}
    positions_BT = torch.arange(batch.input_ids.shape[1]).expand_as(batch.input_ids)
    with pytest.raises(ModelError, match="position_ids"), sharing(model, Layout.of(batch.tensors())):
        model(**inputs, position_ids=positions_BT)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "state space": (lambda: tiny_models.build("jamba"), "carry a state from token to token"),
    "dropout": (lambda: hf.GPT2LMHeadModel(tiny_models.CONFIGS["gpt2"]()), "draws noise"),
    "attention dropout": (
        lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**DENSE, attention_dropout=0.1)),
        "draws noise.*attention_dropout",
    ),
    "router loss": (
        lambda: hf.MixtralForCausalLM(
            hf.MixtralConfig(**DENSE, num_local_experts=4, num_experts_per_tok=2, output_router_logits=True)
        ),
        "router loss",
    ),
    "rotation by length": (
        lambda: hf.LlamaForCausalLM(
            hf.LlamaConfig(**DENSE, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
        ),
        "calls of more than 64 tokens",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused_with_its_reason(name: str) -> None:
    make, reason = REFUSED[name]
    found = why_not(make(), training=True)
    assert found is not None
    assert re.search(reason, found)


def test_gradient_checkpointing_is_refused_in_training_only() -> None:
    model = tiny_models.build("llama")
    assert why_not(model, training=True) is None
    recompute_activations(model)
    assert "gradient_checkpointing" in str(why_not(model, training=True))
    assert why_not(model, training=False) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_few_rows_prove_a_model_and_find_a_wrong_one(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [Random(1).randrange(3, 88) for _ in range(60)]
    model = build("mistral window").train()
    with compute(model, dtype):
        assert verify(model, tokens, dtype=dtype) is None
        assert all(module.training for module in model.modules())
        # A cache that keeps other places than it should. Longer rows are proved anew.
        monkeypatch.setattr(
            "holdfast.models.shared_prefix._rows", lambda x, prefix_B, _place: x.roll(1, 2).index_select(0, prefix_B)
        )
        assert verify(model, tokens, dtype=dtype) is None
        assert "other hidden states" in str(verify(model, [*tokens, 5], dtype=dtype))
    assert verify(tiny_models.build("mamba2"), tokens, dtype=torch.float32) is not None


@pytest.mark.parametrize(
    ("name", "part"),
    [("llama", ""), ("llama", "mlp"), ("gpt_neox", "attention"), ("mixtral", ""), ("deepseek_v3", "attn")],
)
def test_the_price_of_a_shared_batch_is_what_pytorch_counts(name: str, part: str) -> None:
    model, (batch,) = tiny_models.build(name), batches(routes(), share=True, size=8)
    names = {n for n, _ in model.named_parameters() if part in n}
    tensors = batch.tensors()
    layout = Layout.of(tensors)
    assert layout is not None
    priced = cost(model, names, shared=True)
    model.set_attn_implementation("eager")
    if name in ("mixtral", "deepseek_v3"):
        model.set_experts_implementation("eager")
    for n, parameter in model.named_parameters():
        parameter.requires_grad_(n in names)
    inputs = {key: x for key, x in tensors.items() if key not in (*KEYS, "labels")}
    with FlopCounterMode(display=False) as counter, sharing(model, layout):
        logits_BTV = model(**inputs, use_cache=False).logits
        logits_BTV[tensors["labels"].roll(-1, 1) >= 0].sum().backward()
    assert priced.shared_flops(layout, batch.input_ids.numel()) == counter.get_total_flops()
    spent = priced.spent([tensors])
    assert spent["flops"] == priced.shared_flops(layout, batch.n_targets)
    assert spent["tokens"] == batch.n_computed == layout.computed
    assert spent["flops"] < priced.step_flops(tuple(batch.input_ids.shape), batch.n_targets)
