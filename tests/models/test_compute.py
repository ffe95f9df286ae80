"""Masters, the compute context, and the model as it would be exported."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.errors import ModelError, UnknownName
from holdfast.models.compute import compute, dtype_named, exported, parameter_dtypes, set_masters
from tiny_models import CONFIGS, build

IDS_BT = torch.arange(3, 11)[None]


def mixed(architecture: str = "llama") -> Any:
    """A half precision model whose attention has float32 masters."""
    model = build(architecture).to(torch.bfloat16).eval()
    set_masters(model, [name for name, _ in model.named_parameters() if "attn" in name])
    assert parameter_dtypes(model) == {torch.bfloat16, torch.float32}
    return model


def generated(model: Any) -> list[int]:
    with torch.no_grad():
        return list(
            model.generate(
                IDS_BT, attention_mask=torch.ones_like(IDS_BT), max_new_tokens=4, do_sample=False
            )[0, IDS_BT.shape[1] :].tolist()
        )  # fmt: skip


def bits(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        assert torch.equal(left[name], right[name]), name


def test_what_learns_is_float32_and_the_rest_stays_as_stored() -> None:
    model = build("llama").to(torch.bfloat16)
    before = dict(model.named_parameters())
    set_masters(model, ["model.layers.1.mlp.up_proj.weight"])
    for name, parameter in model.named_parameters():
        learns = name == "model.layers.1.mlp.up_proj.weight"
        assert parameter is before[name]
        assert parameter.requires_grad is learns
        assert parameter.dtype == (torch.float32 if learns else torch.bfloat16)


def test_a_tied_weight_learns_under_any_of_its_names() -> None:
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        model = build("qwen2").to(torch.bfloat16)
        set_masters(model, [name])
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.lm_head.weight.dtype == torch.float32
        assert sum(parameter.requires_grad for parameter in model.parameters()) == 1


def test_a_parameter_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no such parameter: 'model\.layers\.0\.mlp\.up_prj\.weight'.*up_proj"):
        set_masters(build("llama"), ["model.layers.0.mlp.up_prj.weight"])


def test_dtypes_are_named_as_in_recipes() -> None:
    assert dtype_named("bfloat16") is torch.bfloat16
    assert dtype_named(torch.float32) is torch.float32
    with pytest.raises(UnknownName, match="bfloat16"):
        dtype_named("bf16")


def test_plain_generate_fails_on_mixed_dtypes() -> None:
    with pytest.raises(RuntimeError, match="dtype"):
        generated(mixed())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma3", "mixtral", "mamba2", "mllama"])
@pytest.mark.parametrize("within", ["compute bfloat16", "compute float32", "exported"])
def test_plain_generate_works_on_mixed_dtypes_inside(architecture: str, within: str) -> None:
    model = build(architecture).to(torch.bfloat16).eval()
    set_masters(model, [name for name, _ in list(model.named_parameters())[2::3]])
    inside: dict[str, AbstractContextManager[None]] = {
        "compute bfloat16": compute(model, torch.bfloat16),
        "compute float32": compute(model, torch.float32),
        "exported": exported(model, torch.bfloat16),
    }
    with inside[within]:
        assert len(generated(model)) >= 1


def test_uniform_models_are_computed_as_they_are() -> None:
    model = build("llama").eval()
    plain = model(IDS_BT).logits
    with compute(model, torch.float32):
        assert not torch.is_autocast_enabled("cpu")
        assert torch.equal(model(IDS_BT).logits, plain)


def test_gradients_in_float32_equal_those_of_the_model_cast_whole() -> None:
    model, whole = mixed(), mixed().to(torch.float32)
    for candidate in (model, whole):
        with compute(candidate, torch.float32):
            candidate(IDS_BT, labels=IDS_BT).loss.backward()
    for (name, mine), other in zip(model.named_parameters(), whole.parameters(), strict=True):
        if mine.requires_grad:
            assert mine.grad is not None
            assert mine.grad.dtype == torch.float32
            assert torch.equal(mine.grad, other.grad), name
        else:
            assert mine.grad is None


@pytest.mark.parametrize("architecture", CONFIGS)
def test_training_computes_what_the_exported_model_computes(architecture: str) -> None:
    model = build(architecture).to(torch.bfloat16)
    set_masters(model, [name for name, _ in list(model.named_parameters())[1::2]])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.001)
    if architecture in ("qwen3_moe", "deepseek_v3"):
        model.set_experts_implementation("eager")  # the grouped kernel takes no rows of 24 bytes
    with torch.no_grad():
        with compute(model, torch.bfloat16):
            training = model(IDS_BT).logits
        with exported(model, torch.bfloat16):
            assert torch.equal(model(IDS_BT).logits, training)


def test_gradients_in_half_precision_reach_the_masters_and_only_them() -> None:
    model = mixed()
    with compute(model, torch.bfloat16):
        model(IDS_BT, labels=IDS_BT).loss.backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) is parameter.requires_grad
        assert parameter.grad is None or (parameter.grad.dtype == torch.float32 and parameter.grad.abs().sum() > 0)


def test_gradients_reach_half_precision_weights_that_learn_without_masters() -> None:
    model = build("llama").to(torch.bfloat16)
    with compute(model, torch.float32):
        model(IDS_BT, labels=IDS_BT).loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_context_entered_anew_sees_the_step_in_between(dtype: torch.dtype) -> None:
    model = mixed()
    with compute(model, dtype):
        first = model(IDS_BT).logits
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    with compute(model, dtype):
        assert not torch.equal(model(IDS_BT).logits, first)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("save_dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_exported_view_is_what_a_reload_of_the_export_gives(
    architecture: str, save_dtype: torch.dtype, tmp_path: Any
) -> None:
    model = build(architecture)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) * 1e-4)
    before = bits(model)
    with exported(model, save_dtype):
        model.save_pretrained(tmp_path)
        view = bits(model)
        ties = {name: id(parameter) for name, parameter in model.named_parameters(remove_duplicate=False)}
    reloaded = type(model).from_pretrained(tmp_path, dtype="auto")
    assert_same(bits(reloaded), view)
    assert_same(bits(model), before)
    again = {name: id(parameter) for name, parameter in reloaded.named_parameters(remove_duplicate=False)}
    assert len(set(ties.values())) == len(set(again.values()))


def test_nothing_is_left_changed_even_after_an_exception() -> None:
    model = mixed().train()
    model.activation_checkpointing_enable()
    model.config.use_cache = False
    model.model.layers[0].eval()
    with compute(model, torch.bfloat16):
        model(IDS_BT, labels=IDS_BT).loss.backward()
    before, modes = bits(model), [module.training for module in model.modules()]
    objects = {name: (id(p), p.data_ptr(), id(p.grad)) for name, p in model.named_parameters()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]

    def disturb() -> None:
        with exported(model, torch.bfloat16), torch.no_grad():
            assert not model.training
            torch.rand(3), random.random(), np.random.rand()
            model.config.use_cache = True
            model.activation_checkpointing_disable()
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.zero_()
            raise KeyError

    with pytest.raises(KeyError):
        disturb()
    assert_same(bits(model), before)
    assert [module.training for module in model.modules()] == modes
    assert {name: (id(p), p.data_ptr(), id(p.grad)) for name, p in model.named_parameters()} == objects
    assert model.config.use_cache is False
    assert model.is_activation_checkpointing
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # type: ignore[index]


def test_training_goes_on_after_a_look_at_the_export_as_if_there_had_been_none() -> None:
    ends = []
    for looks in (False, True):
        model = mixed().train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(3):
            if looks:
                with exported(model, torch.bfloat16):
                    generated(model)
            with compute(model, torch.bfloat16):
                model(IDS_BT, labels=IDS_BT).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(bits(model))
    assert_same(*ends)


def test_a_data_parallel_hook_survives_a_look_at_the_export() -> None:
    """Swapping ``parameter.data`` for another dtype would reset the accumulator that such hooks hang on."""
    model = mixed()
    weight = model.model.layers[0].self_attn.q_proj.weight
    fired = []
    weight.register_post_accumulate_grad_hook(lambda parameter: fired.append(parameter))
    accumulator = weight.view_as(weight).grad_fn.next_functions[0][0]
    with exported(model, torch.bfloat16):
        generated(model)
    assert weight.view_as(weight).grad_fn.next_functions[0][0] is accumulator
    with compute(model, torch.bfloat16):
        model(IDS_BT, labels=IDS_BT).loss.backward()
    assert fired
    assert fired[0] is weight
