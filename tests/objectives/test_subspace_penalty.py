"""The penalty on the update: against brute force, at its ends, beside a method, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from objective_kit import gradients, largest_difference
from torch.utils.flop_counter import FlopCounterMode

import tiny_models
from holdfast.data.batches import Batches
from holdfast.data.encode import Encoded
from holdfast.errors import ModelError, UserError
from holdfast.heal.apply import undone_and_edited
from holdfast.heal.base import Place
from holdfast.heal.core import Core
from holdfast.heal.union import Union
from holdfast.models.adapters import adapt, adapters, linear_weights
from holdfast.models.compute import compute, set_masters
from holdfast.models.counting import cost
from holdfast.models.structure import roles
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.penalty_cost import flops
from holdfast.objectives.subspace_penalty import penalty_on
from holdfast.recipe import Lora, Penalty
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.counts import count_of
from holdfast.spectral.update import Update
from holdfast.train.penalized import LOGGED, Penalized
from holdfast.train.sft import SFT

NOWHERE = FactorCache(None)
KINDS = ["union", "core"]


def matrices(model) -> list[str]:
    return [p.name for p in roles(model) if p.matrices and p.layer is not None]


def moved(model, *, by: float = 1e-3, seed: int = 1) -> None:
    """Move every weight of a model a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


def brute(kind: str, base, now, k: float | int) -> tuple[float, np.ndarray]:
    """Return the energy of one matrix's update in the block, and its gradient, in plain NumPy."""
    left, _, right_t = np.linalg.svd(base, full_matrices=False)
    count = count_of(k, min(base.shape))
    p, q = left[:, :count] @ left[:, :count].T, right_t[:count].T @ right_t[:count]
    change, eye = now - base, np.eye
    if count == min(base.shape):
        p, q = eye(len(p)), eye(len(q))
    if kind == "core":
        return float(np.sum((p @ change @ q) ** 2)), 2 * p @ change @ q
    outside = (eye(len(p)) - p) @ change @ (eye(len(q)) - q)
    return float(np.sum(change**2) - np.sum(outside**2)), 2 * (change - outside)


def stacked(tensor) -> np.ndarray:
    """Return a matrix, or a stack of them, as a stack."""
    array = tensor.detach().numpy()
    return array.reshape(-1, *array.shape[-2:]).copy()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
@pytest.mark.parametrize("k", [0.25, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_those_of_brute_force(kind, k, architecture):
    model = tiny_models.build(architecture).double()
    names, named = matrices(model), dict(model.named_parameters())
    before = {name: stacked(named[name]) for name in names}
    relative, plain = (
        penalty_on(model, names, Penalty(name=kind, k=k, normalize=normalize), cache=NOWHERE)
        for normalize in (True, False)
    )
    moved(model)
    each = {
        name: [
            (*brute(kind, base, now, k), np.sum(base**2))
            for base, now in zip(before[name], stacked(named[name]), strict=True)
        ]
        for name in names
    }
    every = [one for stack in each.values() for one in stack]
    assert (len(every) > len(names)) == (architecture == "mixtral")
    assert plain().item() == pytest.approx(sum(energy for energy, _, _ in every), rel=1e-9)
    value = relative()
    assert value.item() == pytest.approx(np.mean([energy / squares for energy, _, squares in every]), rel=1e-9)
    value.backward()
    found = gradients(model)
    assert found.keys() == set(names)
    for name, stack in each.items():
        expected = np.stack([gradient / squares / len(every) for _, gradient, squares in stack])
        np.testing.assert_allclose(found[name].numpy().reshape(expected.shape), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("k", [768, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_of_all_directions_it_is_the_squared_distance_from_the_base(kind, k):
    model = tiny_models.build("llama").double()
    names, named = matrices(model), dict(model.named_parameters())
    before = {name: named[name].detach().clone() for name in names}
    penalty = penalty_on(model, names, Penalty(name=kind, k=k, normalize=False), cache=NOWHERE)
    moved(model)
    distance = sum(float((named[name].detach() - before[name]).square().sum()) for name in names)
    assert penalty().item() == pytest.approx(distance, rel=1e-12)
    assert penalty.step_flops == 0


def of_bfloat16_files(architecture: str = "llama"):
    """Return a model as a run trains it: float32 masters of bfloat16 files, and the names of its matrices."""
    model = tiny_models.build(architecture).to(torch.bfloat16)
    names = matrices(model)
    set_masters(model, names)
    return model, names


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_exactly_zero_at_the_base_with_no_gradient(kind):
    model, names = of_bfloat16_files()
    penalty = penalty_on(model, names, Penalty(name=kind), cache=NOWHERE)
    value = penalty()
    value.backward()
    assert value.item() == 0.0
    assert all(bool((gradient == 0).all()) for gradient in gradients(model).values())


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_bfloat16_would_round_away_is_penalized_inside_the_compute_context(kind):
    model, names = of_bfloat16_files()
    penalty = penalty_on(model, names, Penalty(name=kind), cache=NOWHERE)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            named[name] *= 1 + 2**-12
    assert all(torch.equal(named[name].bfloat16().float() * (1 + 2**-12), named[name]) for name in names)
    with compute(model, torch.bfloat16):
        value = penalty()
        value.backward()
    # A matrix that grows by a share changes its singular values alone: both blocks are the sum of the first squares.
    assert value.item() == pytest.approx(_first_energy(model, names) * 2**-24, rel=1e-4)
    assert all(gradient.dtype == torch.float32 for gradient in gradients(model).values())


def _first_energy(model, names) -> float:
    """Return the mean share of a matrix's energy that lies in its first fifth of directions."""
    values = [np.linalg.svd(stacked(model.get_parameter(name))[0], compute_uv=False) for name in names]
    return float(np.mean([np.sum(s[: count_of(0.2, len(s))] ** 2) / np.sum(s**2) for s in values]))


@pytest.mark.parametrize(("kind", "healer"), [("union", Union), ("core", Core)])
def test_it_penalizes_what_healing_of_the_same_name_takes_back(kind, healer):
    model = tiny_models.build("llama").double()
    names, named = matrices(model), dict(model.named_parameters())
    before = {name: named[name].detach().clone() for name in names}
    penalty = penalty_on(model, names, Penalty(name=kind, k=0.3, normalize=False), cache=NOWHERE)
    moved(model)
    undone = 0.0
    for name in names:
        update = Update(before[name], named[name].detach())
        undone += undone_and_edited(update, healer(k=0.3).edit(update, Place(name, None, None, 3)))[0]
    assert penalty().item() == pytest.approx(undone, rel=1e-9)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("k", [0.25, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_of_adapters_it_is_that_of_the_merged_weights(kind, k, architecture):
    plain, model = (tiny_models.build(architecture).double() for _ in range(2))
    linear = linear_weights(plain, roles(plain))
    names = [name for name in matrices(plain) if name in linear]
    adapt(model, names, lora=Lora(r=2, alpha=6), seed=0)
    asked = Penalty(name=kind, k=k)
    theirs, ours = (penalty_on(one, names, asked, cache=NOWHERE) for one in (plain, model))
    assert ours().item() == 0.0
    moved(model, by=0.1)  # W too, which an adapter does not count
    parts = {}
    for adapter in adapters(model):
        b, a = (getattr(adapter.layer, f"lora_{which}")["holdfast"].weight for which in "BA")
        parts[adapter.weight_name] = [part.detach().clone().requires_grad_() for part in (b, a)]
    for name, parameter in plain.named_parameters():
        if name in parts:
            b, a = parts[name]
            change = (3.0 * b @ a).T if architecture == "gpt2" else 3.0 * b @ a
            with torch.no_grad():
                parameter += change
    assert ours().item() == pytest.approx(theirs().item(), rel=1e-9)
    theirs().backward()
    ours().backward()
    for adapter in adapters(model):
        b, a = parts[adapter.weight_name]
        whole = plain.get_parameter(adapter.weight_name).grad
        whole = whole.T if architecture == "gpt2" else whole
        found = (adapter.layer.lora_B["holdfast"].weight.grad, adapter.layer.lora_A["holdfast"].weight.grad)
        for mine, expected in zip(found, (3.0 * whole @ a.T, 3.0 * b.T @ whole), strict=True):
            torch.testing.assert_close(mine, expected.detach(), rtol=1e-8, atol=1e-12)


class Rows:
    """Eight ragged rows as a source."""

    rows: tuple[Encoded, ...] = tuple(Encoded(tuple(range(3 + n, 9 + 2 * n)), 2 + n % 2) for n in range(8))
    starts = range(8)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices):
        return [self.rows[index] for index in indices]


def a_step(penalty: Penalty | None, *, rows: int, dtype=torch.float64):
    """Return the summed metrics and the gradients of one step over eight rows, of weights that have moved."""
    model = tiny_models.build("llama").to(dtype)
    names = matrices(model)
    batches = Batches(Rows(), seed=0, per_device_train_batch_size=rows, gradient_accumulation_steps=8 // rows)
    method = SFT(Engine(model, DFT()), batches, cost(model, ()), torch.device("cpu"))
    if penalty is not None:
        method = Penalized(method, penalty_on(model, names, penalty, cache=NOWHERE))
    moved(model)
    step = method.next_step()
    totals, sums = method.totals(step), {}
    for batch in step:
        out = method.loss(batch, totals)
        out.loss.backward()
        sums = {name: sums.get(name, 0.0) + float(value) for name, value in out.sums.items()} | sums
    return method, sums, gradients(model)


def test_a_step_has_it_once_however_it_is_cut_into_micro_batches():
    asked = Penalty(name="union", strength=1e4)
    _, _, plain = a_step(None, rows=8)
    method, sums, whole = a_step(asked, rows=8)
    assert sums[LOGGED] > 0
    assert largest_difference(whole, plain) > 0.1
    alone = tiny_models.build("llama").double()
    penalty = penalty_on(alone, matrices(alone), asked, cache=NOWHERE)
    moved(alone)
    (1e4 * penalty()).backward()
    for name, gradient in gradients(alone).items():
        torch.testing.assert_close(whole[name] - plain[name], gradient, rtol=1e-8, atol=1e-12)
    for rows in (4, 2, 1):
        other, told, found = a_step(asked, rows=rows)
        assert largest_difference(found, whole) < 1e-11
        assert told[LOGGED] == pytest.approx(sums[LOGGED], rel=1e-12)
        assert other.penalty.step_flops == method.penalty.step_flops


def test_at_strength_0_it_is_measured_and_no_bit_of_the_gradient_differs():
    _, sums, plain = a_step(None, rows=2, dtype=torch.float32)
    _, told, found = a_step(Penalty(name="union", strength=0.0), rows=2, dtype=torch.float32)
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    assert told.pop(LOGGED) > 0
    assert told == sums


@pytest.mark.parametrize("adapter", [None, 2])
@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("k", [0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_its_flops_are_those_that_torch_counts(kind, k, strength, adapter):
    asked, model = (
        Penalty(name=kind, k=k, strength=strength),
        tiny_models.build("mixtral" if adapter is None else "llama"),
    )
    names = matrices(model)
    shapes = [model.get_parameter(name).shape for name in names]
    if adapter is not None:
        adapt(model, names, lora=Lora(r=adapter), seed=0)
    penalty = penalty_on(model, names, asked, cache=NOWHERE)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(strength > 0):
        value = penalty()
        if strength > 0:
            value.backward()
    assert penalty.step_flops == counter.get_total_flops()
    assert penalty.step_flops == sum(flops(asked, shape, adapter=adapter) for shape in shapes)
    assert (penalty.step_flops == 0) == (k == 1.0 and adapter is None)


def test_directions_come_from_the_cache_that_healing_fills_from_the_files(tmp_path: Path):
    files = tiny_models.build("llama").to(torch.bfloat16)
    filled = FactorCache(tmp_path)
    for name in matrices(files):
        filled.factors(files.get_parameter(name).detach())
    values = []
    for cache in (FactorCache(tmp_path), NOWHERE):
        model, names = of_bfloat16_files()
        penalty = penalty_on(model, names, Penalty(name="union"), cache=cache)
        moved(model)
        values.append(penalty().item())
        if cache is not NOWHERE:
            assert (cache.made, cache.found) == (0, filled.made)
    assert values[0] == values[1]  # so that a resumed run is the unbroken one, bit for bit


def test_what_it_cannot_work_on_is_refused_by_name():
    model = tiny_models.build("llama")
    names, asked = matrices(model), Penalty(name="union")
    with pytest.raises(ModelError, match=r"no such parameter: 'model\.layers\.9.*Did you mean"):
        penalty_on(model, ["model.layers.9.self_attn.q_proj.weight"], asked, cache=NOWHERE)
    with pytest.raises(UserError, match=r"penalty\.k must be a share"):
        penalty_on(model, names, Penalty(name="union", k=1.5), cache=NOWHERE)
    with torch.no_grad():
        model.get_parameter(names[1]).zero_()
    with pytest.raises(ModelError, match=f"{names[1]} holds a matrix that is 0 in the base"):
        penalty_on(model, names, asked, cache=NOWHERE)
    penalty_on(model, names, Penalty(name="union", normalize=False), cache=NOWHERE)
    with torch.no_grad():
        model.get_parameter(names[1]).fill_(torch.nan)
    with pytest.raises(ModelError, match=f"{names[1]}: the matrix holds NaN"):
        penalty_on(model, names, Penalty(name="union", normalize=False), cache=NOWHERE)
