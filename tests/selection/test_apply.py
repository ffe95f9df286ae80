from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import tiny_models
from holdfast.errors import FrozenWeightMoved, SelectionError
from holdfast.models.structure import roles
from holdfast.selection import parse, select
from holdfast.selection.apply import apply, fingerprint, fingerprint_frozen, verify_frozen


def test_exactly_the_selected_parameters_learn_whatever_learned_before() -> None:
    model = tiny_models.build("llama")
    found = roles(model)
    apply(model, select(found, parse("full")))
    selected = select(found, parse({"preset": "attention", "layers": "last:1"}))
    apply(model, selected)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(selected.names)


def test_a_tied_tensor_learns_under_all_of_its_names() -> None:
    model = tiny_models.build("qwen2")
    apply(model, select(roles(model), parse("head")))
    assert model.lm_head.weight.requires_grad
    assert model.model.embed_tokens.weight is model.lm_head.weight


def test_a_selection_of_another_model_is_refused_and_changes_nothing() -> None:
    model = tiny_models.build("llama")
    other = tiny_models.build("gpt2", device="meta")
    with pytest.raises(SelectionError, match=r"no parameter 'transformer\.h\.0\.attn\.c_attn\.weight'"):
        apply(model, select(roles(other), parse("attention")))
    assert all(p.requires_grad for p in model.parameters())


def test_packed_weights_are_refused_and_nothing_is_changed() -> None:
    model = tiny_models.build("llama")
    selected = select(roles(model), parse("attention"))
    packed = nn.Parameter(torch.zeros(16, 16, dtype=torch.uint8), requires_grad=False)
    model.model.layers[0].self_attn.q_proj.weight = packed
    with pytest.raises(SelectionError, match=r"uint8.*unquantized"):
        apply(model, selected)
    assert model.lm_head.weight.requires_grad


def test_a_moved_frozen_weight_is_named() -> None:
    model = tiny_models.build("llama")
    selected = select(roles(model), parse("attention"))
    before = fingerprint_frozen(model, selected)
    assert set(before) == {name for name, _ in model.named_parameters()} - set(selected.names)
    verify_frozen(model, before)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.add_(1.0)
    verify_frozen(model, before)
    with torch.no_grad():
        model.model.norm.weight[3] += 1e-6
    with pytest.raises(FrozenWeightMoved, match=r"1 of 18 frozen weights .*model\.norm\.weight"):
        verify_frozen(model, before)


def test_a_frozen_weight_that_is_gone_or_cast_has_moved() -> None:
    model = tiny_models.build("llama")
    before = fingerprint_frozen(model, select(roles(model), parse("attention")))
    model.model.norm = nn.Identity()
    model.lm_head.bfloat16()
    with pytest.raises(FrozenWeightMoved, match=r"2 of 18 .*model\.norm\.weight, lm_head\.weight"):
        verify_frozen(model, before)


def test_a_tied_tensor_that_learns_is_not_fingerprinted_under_its_other_name() -> None:
    model = tiny_models.build("qwen2")
    before = fingerprint_frozen(model, select(roles(model), parse("head")))
    assert not {"lm_head.weight", "model.embed_tokens.weight"} & set(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool])
def test_a_fingerprint_sees_one_bit(dtype: torch.dtype) -> None:
    tensor = torch.ones(3, 4).to(dtype)
    other = tensor.clone()
    assert fingerprint(tensor) == fingerprint(other)
    other.view(torch.uint8).flatten()[0] ^= 1
    assert fingerprint(tensor) != fingerprint(other)


def test_a_fingerprint_is_of_shape_dtype_and_sign_of_zero_but_not_of_strides() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    assert fingerprint(tensor) != fingerprint(tensor.reshape(4, 3))
    assert fingerprint(torch.zeros(2)) != fingerprint(torch.zeros(2, dtype=torch.int32))
    assert fingerprint(torch.zeros(2)) != fingerprint(-torch.zeros(2))
    assert fingerprint(tensor.T.contiguous().T) == fingerprint(tensor)
    assert fingerprint(torch.tensor(1.0)) != fingerprint(torch.tensor([1.0]))
    assert fingerprint(torch.empty(0)) == fingerprint(torch.empty(0))


def test_a_sharded_tensor_has_the_fingerprint_of_the_whole() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        tensor = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        sharded = distribute_tensor(tensor, init_device_mesh("cpu", (1,)), [Shard(0)])
        assert fingerprint(nn.Parameter(sharded)) == fingerprint(tensor)
    finally:
        dist.destroy_process_group()
