"""FLOPs: counted on shapes, checked against PyTorch's own counter on a real forward and backward pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import peft
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from holdfast.errors import ModelError
from holdfast.models.cost import Cost, Curve
from holdfast.models.counting import cost
from holdfast.models.roles import Role
from holdfast.models.structure import roles
from holdfast.selection import parse, select
from tiny_models import CONFIGS, build

B, T = 2, 13
Choice = Callable[[str], bool]
CHOICES: dict[str, Choice] = {
    "full": lambda name: True,
    "attention": lambda name: "self_attn" in name or ".attn." in name or ".attention." in name,
    "mlp": lambda name: ".mlp." in name or ".feed_forward." in name or "block_sparse_moe" in name,
    "first block": lambda name: "layers.0." in name or ".h.0." in name,
    "last block": lambda name: "layers.2." in name or ".h.2." in name,
    "norms": lambda name: "norm" in name or ".ln_" in name,
    "embedding": lambda name: "embed_tokens" in name or ".wte." in name or ".embed_in." in name,
    "head": lambda name: "lm_head" in name or "embed_out" in name,
    "nothing": lambda name: False,
}
DENSE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox", "olmo2", "mllama")
EXPERTS = ("mixtral", "qwen3_moe", "deepseek_v3")


def chosen(model: Any, choice: Choice) -> list[str]:
    return [name for name, _ in model.named_parameters() if choice(name)]


def measured(model: Any, names: Sequence[str], shape: tuple[int, int] = (B, T)) -> int:
    """Return what PyTorch's counter sees of a real forward and backward pass of the whole model."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in set(names))
    ids_BT = torch.randint(3, 80, shape, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        if logits_BTV.requires_grad:
            logits_BTV.float().sum().backward()
    return int(counter.get_total_flops())


def plain(architecture: str) -> Any:
    """Return a model whose attention and experts consist of products that PyTorch's counter knows."""
    model = build(architecture)
    model.set_attn_implementation("eager")
    if architecture in (*EXPERTS, "jamba"):
        model.set_experts_implementation("eager")
    return model


# Every choice on a dense model; three on all. Selections as recipes name them follow below.
THOROUGH = ("llama",)
CASES = [
    (architecture, choice)
    for architecture in (*DENSE, *EXPERTS)
    for choice in (CHOICES if architecture in THOROUGH else ("full", "attention", "last block"))
]


@pytest.mark.parametrize(("architecture", "choice"), CASES)
def test_the_count_equals_what_pytorch_counts_while_training(architecture: str, choice: str) -> None:
    model = build(architecture)
    names = chosen(model, CHOICES[choice])
    counted = cost(model, names)
    assert counted.exact
    assert counted.step_flops((B, T), B * T) == measured(plain(architecture), names)


def llama_tied() -> Any:
    config = CONFIGS["llama"]()
    config.tie_word_embeddings = True
    return transformers.LlamaForCausalLM(config).eval()


SELECTIONS: dict[str, Any] = {
    "full": "full",
    "attention": "attention",
    "mlp": "mlp",
    "first two": {"preset": "full", "layers": "first:2"},
    "last attention": {"preset": "attention", "layers": "last:1"},
    "spread mlp": {"preset": "mlp", "layers": "spread:2"},
    "matched depth": {"preset": "mlp", "match": {"parameters_of": "attention"}},
}


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("architecture", ["llama, tied", "gpt_neox", "mixtral", "mllama"])
def test_every_selection_is_counted_as_pytorch_counts_it(architecture: str, selection: str) -> None:
    """Presets and parts of the depth, as a recipe names them; with them the two budgets that count weights."""
    tied = architecture == "llama, tied"
    model, eager = (llama_tied(), llama_tied()) if tied else (build(architecture), plain(architecture))
    eager.set_attn_implementation("eager")
    chosen = select(parameters := roles(model), parse(SELECTIONS[selection]), text_only=True)
    counted = cost(model, chosen.names)
    assert counted.step_flops((B, T), B * T) == measured(eager, chosen.names)
    # 6·N_trainable·D by hand: matrices that learn, a tied one once (as the head), routed experts as often as visited.
    taken = [p for p in parameters if p.name in chosen.names and len(p.shape) > 1]
    looked_up = [p for p in taken if p.role is Role.EMBEDDING and Role.HEAD not in p.tied_roles]
    visited = {p.name: Fraction(2, 4) if len(p.shape) == 3 else 1 for p in taken if p not in looked_up}
    assert counted.active_trainable == sum(visited[p.name] * p.n_parameters for p in taken if p.name in visited)


@pytest.mark.parametrize("choice", ["attention", "nothing"])
def test_state_space_models_are_counted_exactly_where_pytorch_does(choice: str) -> None:
    """Elsewhere PyTorch's counter takes the backward pass of a depthwise convolution for a dense one."""
    model = build("jamba")
    names = chosen(model, CHOICES[choice])
    assert cost(model, names).step_flops((B, T), B * T) == measured(plain("jamba"), names)


def test_chunked_state_space_models_are_exact_at_whole_chunks_and_say_so() -> None:
    counted = cost(build("mamba2"), [])
    assert not counted.exact
    chunk = CONFIGS["mamba2"]().chunk_size
    assert counted.step_flops((B, 4 * chunk), 4 * B * chunk) == measured(build("mamba2"), [], (B, 4 * chunk))
    off = counted.step_flops((B, 4 * chunk - 3), B * (4 * chunk - 3)) / measured(
        build("mamba2"), [], (B, 4 * chunk - 3)
    )
    assert 0.85 < off < 1


@pytest.mark.parametrize("target", ["attention only", "all linear"])
def test_adapters_are_counted_without_gradients_of_the_weights_under_them(target: str) -> None:
    modules = ["q_proj", "v_proj"] if target == "attention only" else "all-linear"

    def adapted(model: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peft.get_peft_model(
                model, peft.LoraConfig(r=2, target_modules=modules, task_type="CAUSAL_LM")
            ).eval()

    model = adapted(build("llama"))
    names = chosen(model, lambda name: "lora_" in name)
    counted = cost(model, names)
    assert counted.step_flops((B, T), B * T) == measured(adapted(plain("llama")), names)
    # 6·N_trainable·D counts the adapters; 6·N·D counts them beside the weights that they adapt.
    adapters = sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)
    assert counted.active_trainable == adapters
    assert counted.active_weights == adapters + cost(build("llama"), []).active_weights
    # Nearly everything but the weight gradients of the frozen weights is still to be computed.
    full = cost(build("llama"), chosen(build("llama"), CHOICES["full"]))
    assert counted.weight_gradient.at(T) < 0.5 * full.weight_gradient.at(T)
    assert counted.step_flops((1, T), T) > 0.6 * full.step_flops((1, T), T)


def llama_by_hand(shape: tuple[int, int], head_rows: int, *, d: int, f: int, kv: int, layers: int, vocab: int) -> int:
    """Return a full training step of a Llama in closed form: 3 passes of 2 FLOPs a weight, and attention's squares.

    The embedding is trainable, so every input gradient is computed.
    """
    rows, length = shape
    weights = layers * (2 * d * d + 2 * d * kv + 3 * d * f)
    squares = layers * 2 * 2 * length * d
    return 3 * (rows * length * (2 * weights + squares) + head_rows * 2 * d * vocab)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 64), (1, 1000)])
def test_a_full_step_of_a_llama_equals_its_closed_form(shape: tuple[int, int]) -> None:
    model = build("llama")
    counted = cost(model, chosen(model, CHOICES["full"])).step_flops(shape, 5)
    assert counted == llama_by_hand(shape, 5, d=16, f=24, kv=8, layers=3, vocab=96)


def test_only_rows_that_meet_the_head_pay_for_it() -> None:
    model = build("llama")
    counted = cost(model, chosen(model, CHOICES["full"]))
    assert counted.step_flops((B, T), 10) - counted.step_flops((B, T), 9) == 3 * 2 * 16 * 96
    assert counted.forward_flops((B, T), 10) == counted.step_flops((B, T), 10) / 3


def test_training_less_never_costs_more() -> None:
    model = build("llama")
    steps = {name: cost(model, chosen(model, choice)).step_flops((B, T), 4) for name, choice in CHOICES.items()}
    assert steps["full"] == max(steps.values())
    assert steps["nothing"] == min(steps.values())
    assert steps["last block"] < steps["first block"] < steps["full"]


def test_weights_below_the_lowest_trainable_one_pay_no_input_gradient() -> None:
    model = build("llama")
    last = cost(model, chosen(model, CHOICES["last block"]))
    whole = cost(model, chosen(model, CHOICES["full"]))
    # In the last of three blocks all but the first three products see an input that depends on a trainable weight.
    block = whole.input_gradient.at(T) / 3
    first_products = 2 * T * (16 * 16 + 2 * 16 * 8)
    assert last.input_gradient.at(T) <= block
    # Its norm is trainable, so even those are paid.
    assert last.input_gradient.at(T) == block
    only_projections = cost(model, [n for n in chosen(model, CHOICES["last block"]) if "norm" not in n])
    assert only_projections.input_gradient.at(T) == block - first_products


def test_inactive_blocks_do_not_count() -> None:
    text = build("mllama")
    active = [name for name, _ in text.named_parameters() if "language_model.layers" in name and "self_attn" in name]
    crossed = [name for name, _ in text.named_parameters() if "cross_attn" in name]
    assert crossed
    assert cost(text, crossed).step_flops((B, T), 0) == cost(text, []).step_flops((B, T), 0)
    assert cost(text, crossed).active_trainable == 0
    assert cost(text, active).active_trainable > 0


def test_experts_count_as_many_times_as_a_token_visits_them() -> None:
    counted = cost(build("mixtral"), [])
    attention, router, expert, head = 2 * 16 * 16 + 2 * 16 * 8, 4 * 16, 3 * 16 * 24, 16 * 96
    assert counted.active_weights == 3 * (attention + router + 2 * expert) + head


def test_every_way_of_counting_is_in_what_a_step_spends() -> None:
    model = build("llama")
    attention = 3 * (2 * 16 * 16 + 2 * 16 * 8)
    counted = cost(model, chosen(model, CHOICES["attention"]))
    assert counted.active_weights == attention + 3 * 3 * 16 * 24 + 16 * 96
    assert counted.active_trainable == attention
    labels_BT = torch.full((2, 6), -100)
    labels_BT[0, 0] = labels_BT[0, 4] = labels_BT[1, 5] = 7  # nothing predicts a row's first token
    batches = [{"input_ids": torch.zeros(2, 6), "labels": labels_BT}] * 2
    assert counted.spent(batches) == {
        "steps": 1,
        "flops": 2 * counted.step_flops((2, 6), 2),
        "flops_6nd": 6 * counted.active_weights * 24,
        "flops_trainable": 6 * attention * 24,
        "tokens": 24,
        "target_tokens": 4,
        "examples": 4,
    }


def test_full_training_counts_the_same_by_all_weights_and_by_trainable_ones() -> None:
    for architecture in ("llama", "qwen2", "gpt2", "mixtral"):
        model = build(architecture)
        counted = cost(model, chosen(model, CHOICES["full"]))
        assert counted.active_trainable == counted.active_weights


@pytest.mark.parametrize("architecture", CONFIGS)
def test_counting_needs_no_data_and_leaves_the_model_as_it_was(architecture: str) -> None:
    model = build(architecture).train()
    next(model.parameters()).requires_grad_(False)
    before = {name: (id(p), p.requires_grad, p.device, p.dtype) for name, p in model.named_parameters()}
    buffers = {name: id(buffer) for name, buffer in model.named_buffers()}
    names = chosen(model, CHOICES["attention"])
    counted = cost(model, names)
    assert {name: (id(p), p.requires_grad, p.device, p.dtype) for name, p in model.named_parameters()} == before
    assert {name: id(buffer) for name, buffer in model.named_buffers()} == buffers
    assert all(module.training for module in model.modules())
    assert cost(build(architecture, device="meta"), names) == counted
    assert cost(build(architecture).to(torch.bfloat16), names) == counted


def test_attention_is_counted_alike_however_it_is_computed() -> None:
    eager, fused = plain("llama"), build("llama")
    names = chosen(eager, CHOICES["full"])
    assert eager.config._attn_implementation != fused.config._attn_implementation
    assert cost(eager, names) == cost(fused, names)


def test_a_name_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'model\.layers\.9\.w'"):
        cost(build("llama"), ["model.layers.9.w"])


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="no output head"):
        cost(build("llama").model, [])


def test_a_parabola_goes_through_its_points() -> None:
    model = build("llama")
    counted = cost(model, chosen(model, CHOICES["full"]))
    assert isinstance(counted, Cost)
    curve: Curve = counted.forward
    assert (curve.quadratic, curve.constant) == (3 * 2 * 2 * 16, 0)
    assert curve.at(0) == 0


@pytest.mark.slow
def test_llama_3_2_vision_has_the_counts_of_the_literature() -> None:
    """Text tokens see 32 of its 40 blocks: 41.94 M attention and 176.16 M feed-forward weights each, and the head."""
    config = transformers.MllamaConfig(
        text_config=transformers.models.mllama.configuration_mllama.MllamaTextConfig(),
        vision_config=transformers.models.mllama.configuration_mllama.MllamaVisionConfig(num_hidden_layers=1),
    )
    with torch.device("meta"):
        model = transformers.MllamaForConditionalGeneration._from_config(config)
    attention = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)
    mlp = 32 * 3 * 4096 * 14336
    counted = {kind: cost(model, chosen(model, CHOICES[kind])) for kind in ("full", "attention", "mlp")}
    assert counted["attention"].active_trainable == attention == 1_342_177_280
    assert counted["mlp"].active_trainable == mlp == 5_637_144_576
    assert counted["full"].active_weights == attention + mlp + 4096 * 128_256
    step = {kind: one.step_flops((1, 512), 512) for kind, one in counted.items()}
    # Steps that an arm gets for the FLOPs of one full step: 1.38 and 1.09 in the design's table.
    assert step["full"] / step["attention"] == pytest.approx(1.38, abs=0.02)
    assert step["full"] / step["mlp"] == pytest.approx(1.09, abs=0.02)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize(("prompt", "new"), [(7, 1), (5, 6)])
def test_answering_costs_what_a_cached_generation_computes(architecture: str, prompt: int, new: int) -> None:
    model = plain(architecture)
    ids_BT = torch.randint(3, 80, (1, prompt), generator=torch.Generator().manual_seed(0))
    settings = transformers.GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    with FlopCounterMode(display=False) as counter:
        model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=settings)
    assert cost(model, []).generation_flops(prompt, new) == pytest.approx(counter.get_total_flops(), rel=1e-9)
