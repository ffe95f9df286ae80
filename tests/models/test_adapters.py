"""Adapters on tiny models of several architectures: where they are put, how they begin, and what is exported."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import peft
import pytest
import torch

import tiny_models
from holdfast.errors import ModelError, UserError
from holdfast.models import adapters as module
from holdfast.models import peft_extra
from holdfast.models.adapters import adapt, adapters, linear_weights, target_modules
from holdfast.models.compute import compute, exported, exported_weights, recompute_activations, set_masters
from holdfast.models.counting import cost
from holdfast.models.shareable import verify, why_not
from holdfast.models.structure import roles
from holdfast.plan import member_faults
from holdfast.recipe import Lora

ARCHITECTURES = [name for name in tiny_models.CONFIGS if name not in ("qwen3_moe", "deepseek_v3", "mamba2", "jamba")]
RANK_2 = Lora(r=2)
IDS_BT = torch.arange(5, 29).view(2, 12)


def adapted(architecture: str = "llama", *, lora: Lora = RANK_2, seed: int = 0, **more: Any) -> tuple[Any, Any]:
    model = tiny_models.build(architecture, **more)
    return model, adapt(model, linear_weights(model, roles(model)), lora=lora, seed=seed)


def moved(model: Any, names: tuple[str, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            named[name].normal_(generator=generator, std=0.2)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor.view(torch.uint8), other[name].view(torch.uint8))
        for name, tensor in one.items()
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_untrained_adapters_export_the_base_bit_for_bit(architecture: str) -> None:
    plain, (model, names) = tiny_models.build(architecture), adapted(architecture)
    for one in (plain, model):
        one.get_output_embeddings().weight.data[0, 0] = -0.0
        layer = next(m for m in one.modules() if isinstance(m, module.LINEAR) and m.weight.shape[0] > 2)
        layer.weight.data[:2, 0] = -0.0
    assert len(names) == 2 * len(adapters(model)) > 0
    with exported(model, torch.float32):
        assert equal(state(model), state(plain))
        assert adapters(model) == ()
    assert equal(
        dict(exported_weights(model, [n for n, _ in plain.named_parameters()], save_dtype=torch.bfloat16)),
        {n: p.detach().to(torch.bfloat16) for n, p in plain.named_parameters()},
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_the_export_computes_what_peft_merges(architecture: str) -> None:
    model, names = adapted(architecture, lora=Lora(r=3, alpha=5))
    moved(model, names)
    set_masters(model, names)
    with torch.no_grad():
        live = model(IDS_BT).logits
        with exported(model, torch.float32):
            ours, merged = model(IDS_BT).logits, state(model)
        assert equal(dict(exported_weights(model, list(merged), save_dtype=torch.float32)), merged)
        for adapter in adapters(model):
            adapter.layer.merge()
            there = adapter.layer.base_layer.weight
            torch.testing.assert_close(merged[adapter.weight_name], there, rtol=1e-5, atol=1e-6)
        theirs = model(IDS_BT).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours, live, rtol=1e-4, atol=1e-5)


def test_the_live_model_is_as_before_also_after_an_exception() -> None:
    model, names = adapted()
    moved(model, names)
    set_masters(model, names)
    model.train()
    before, modules = state(model), [(name, id(m), m.training) for name, m in model.named_modules()]
    parameters = [(name, id(p), p.requires_grad) for name, p in model.named_parameters()]
    with pytest.raises(KeyError, match="up_proj"), exported(model, torch.bfloat16):
        raise KeyError(next(name for name, _ in model.named_parameters() if name.endswith(".mlp.up_proj.weight")))
    assert equal(state(model), before)
    assert [(name, id(m), m.training) for name, m in model.named_modules()] == modules
    assert [(name, id(p), p.requires_grad) for name, p in model.named_parameters()] == parameters


def test_a_user_s_own_adapters_are_not_merged() -> None:
    model = peft.inject_adapter_in_model(
        peft.LoraConfig(r=2, target_modules=["q_proj"]), tiny_models.build("llama"), adapter_name="default"
    )
    with exported(model, torch.float32):
        assert any("lora_A.default" in name for name, _ in model.named_parameters())


def test_a_begins_by_the_seed_alone_and_leaves_the_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = state(adapted(seed=5)[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert equal(first, state(adapted(seed=5)[0]))
    other = state(adapted(seed=6)[0])
    a = [name for name in first if ".lora_A." in name]
    assert all(not torch.equal(first[name], other[name]) for name in a)
    assert all(
        not torch.equal(first[x], first[y]) for x, y in itertools.pairwise(a) if first[x].shape == first[y].shape
    )
    assert all(0.15 < float(first[name].abs().max()) <= 1 / first[name].shape[1] ** 0.5 for name in a)
    assert not any(first[name].any() for name in first if ".lora_B." in name)


def test_on_meta_the_adapters_have_the_same_names_and_shapes() -> None:
    (here, names), (there, meta) = adapted("gemma3"), adapted("gemma3", device="meta")
    assert names == meta
    assert {n: p.shape for n, p in here.named_parameters()} == {n: p.shape for n, p in there.named_parameters()}
    assert {p.device.type for p in there.parameters()} == {"meta"}


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
def test_a_step_moves_the_adapters_and_no_weight(checkpointed: bool) -> None:
    model, names = adapted()
    before, plain = state(model), tiny_models.build("llama")
    set_masters(model, names)
    model.train()
    if checkpointed:
        recompute_activations(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        with compute(model, torch.float32):
            model(IDS_BT, labels=IDS_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = state(model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(names)
    for name, tensor in plain.state_dict().items():
        there = name if name in after else name.replace(".weight", ".base_layer.weight")
        assert torch.equal(after[there], tensor), name


def test_peft_s_configuration_names_the_modules_in_the_shortest_form_that_means_no_other() -> None:
    paths = ["a.0.q", "a.1.q", "a.1.o", "b.a.1.o"]
    assert target_modules(paths, {"a.0.q", "a.1.q"}) == ["q"]
    assert target_modules(paths, {"a.0.q"}) == ["a.0.q"]
    assert target_modules(paths, {"a.1.o"}) == r"a\.1\.o"


@pytest.mark.parametrize("architecture", ["mamba2", "deepseek_v3"])
def test_what_peft_would_adapt_otherwise_is_refused(architecture: str) -> None:
    with pytest.raises(ModelError, match="lora: PEFT"):
        adapted(architecture)


def test_embeddings_norms_heads_and_shared_weights_are_not_adapted() -> None:
    model = tiny_models.build("llama")
    model.model.layers[1].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    names = linear_weights(model, roles(model))
    assert len(names) == 3 * 7 - 2
    assert not any("q_proj" in name and ("layers.0" in name or "layers.1" in name) for name in names)
    assert not any("embed" in name or "norm" in name or "head" in name for name in names)


@pytest.fixture
def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(peft_extra.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_peft")
def test_a_missing_extra_is_said_with_the_command_that_installs_it() -> None:
    with pytest.raises(UserError, match=r"pip install 'holdfast\[peft\]'"):
        adapted()
    assert any(fault.where == "lora" for fault in member_faults({"lora": {"r": 2}}))
    assert not any(fault.where == "lora" for fault in member_faults({}))


def test_prefixes_are_shared_beside_adapters_unless_they_have_dropout() -> None:
    model, names = adapted()
    moved(model, names)
    assert why_not(model, training=True) is None
    assert verify(model, list(range(3, 30)), dtype=torch.float32) is None
    noisy, _ = adapted(lora=Lora(r=2, dropout=0.1))
    assert "draws noise" in str(why_not(noisy, training=True))


def test_the_cost_of_adapters_is_as_by_hand() -> None:
    """One block's q_proj alone, the last one: d x d, rank r. Per token, in units of 2 FLOPs.

    Forward adds A (r d) and B (d r). Backward: weight gradients of A and B (2 r d); input gradients of B only (r d),
    for the input of the last block depends on nothing that learns; above q, of the scores Q K (once) and of what
    comes after: softmax times V (of the weights), o_proj, the MLP's three, and the head.
    """
    model = tiny_models.build("llama")
    name = "model.layers.2.self_attn.q_proj.weight"
    plain = cost(tiny_models.build("llama"), [])
    learning = adapt(model, [name], lora=Lora(r=2), seed=0)
    counted, d, f, r, t, vocabulary = cost(model, learning), 16, 24, 2, 10, tiny_models.VOCABULARY
    assert counted.forward.at(t) - plain.forward.at(t) == t * 2 * (2 * r * d)
    assert counted.weight_gradient.at(t) == t * 2 * (2 * r * d)
    squares = 2 * t * t * d
    assert counted.input_gradient.at(t) == t * 2 * (r * d + d * d + 3 * d * f) + 2 * squares
    assert counted.head_input_gradient == 2 * d * vocabulary
    assert counted.head_weight_gradient == 0
    assert counted.active_trainable == 2 * r * d
    assert counted.active_weights == plain.active_weights + 2 * r * d
