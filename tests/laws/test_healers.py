"""What every healer obeys. Run over the members of the table, on one matrix and on a tiny model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_pair
from holdfast.heal import HEALERS
from holdfast.heal.apply import summary
from holdfast.heal.arithmetic import take
from holdfast.heal.base import Blend, Healer, Place
from holdfast.heal.healing import Healing, healing_of
from holdfast.members import find
from holdfast.models.pairs import same_bits
from holdfast.selection import parse
from holdfast.spectral.update import Update
from tiny_pair import Folders

MEMBERS = sorted(HEALERS)
PLACE = Place("model.layers.0.mlp.up_proj.weight", "mlp", 0, 4)
ROWS, COLUMNS = 24, 16
NONSENSE: dict[str, list[dict[str, Any]]] = {
    "core": [{"k": 0}, {"k": 1.5}, {"k": -3}, {"k": True}, {"k": math.nan}, {"k": "all"}],
    "union": [{"k": 0.0}, {"k": -0.1}, {"k": False}],
    "union_keep_values": [{"k": 0}],
    "rotation_only": [{"k": 2.0}],
    "head_tail": [{"head": 0, "tail": 0}, {"head": -1}, {"tail": 1.1}],
    "uv_merge": [{"k": 0, "tail": 0}, {"values": "both"}, {"form": "fast"}, {"k": -1}],
    "values_only": [{"k": 0}],
    "layer_reset": [{"share": 0}, {"share": 1.1}, {"share": math.nan}, {"position": "top"}, {"ends": "no"}],
    "lines": [{"alpha": -0.1}, {"alpha": 0.6, "beta": 0.6}, {"alpha": math.nan}, {"beta": -0.6}],
    "noise_edge": [{"scale": 0}, {"scale": math.nan}, {"keep": "noise"}],
    "intruders": [{"top": 0}, {"top": 2.5}, {"epsilon": 0}, {"scale": 1.0}, {"scale": math.nan}],
    "random_subspace": [{"k": 0}, {"seed": "now"}],
    "interpolate": [],
}


def healer_named(name: str) -> Any:
    return find("healer", name, HEALERS)()


def matrices(dtype: torch.dtype = torch.float64, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a base with a decaying spectrum, and one with noise and a strong new direction added: all healers act."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    left, values, right = torch.linalg.svd(base, full_matrices=False)
    base = left @ (values * torch.linspace(1.0, 0.2, COLUMNS, dtype=torch.float64)).diag() @ right
    noise = 0.02 * torch.randn(ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    spread = torch.ones(ROWS, dtype=torch.float64).outer(torch.ones(COLUMNS, dtype=torch.float64))
    return base.to(dtype), (base + noise + 0.5 * spread).to(dtype)


def healed(name: str, strength: float, pair: tuple[Tensor, Tensor]) -> Tensor:
    base, tuned = pair
    update, result = Update(base, tuned), tuned.clone()
    take(update, healer_named(name).edit(update, PLACE), strength=strength, into=result)
    return result


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A pair in bfloat16 whose second block and final norm did not move."""
    place: Path = tmp_path_factory.mktemp("pair")
    return tiny_pair.write(place, dtype=torch.bfloat16, unmoved=("layers.1.", "model.norm"))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_healer_is_a_frozen_value_that_keeps_the_contract(name: str) -> None:
    healer = healer_named(name)
    assert isinstance(healer, Healer)
    assert healer.scope in ("matrices", "everything")
    assert dataclasses.is_dataclass(healer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        healer.another = 1


@pytest.mark.parametrize(("name", "fields"), [(name, fields) for name, all_ in NONSENSE.items() for fields in all_])
def test_fields_refuse_nonsense(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"got|nothing would"):
        find("healer", name, HEALERS)(**fields)


def test_every_member_with_fields_is_asked_for_nonsense() -> None:
    assert set(NONSENSE) == set(HEALERS)
    assert [name for name in MEMBERS if dataclasses.fields(healer_named(name)) and not NONSENSE[name]] == []


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_strength_zero_returns_the_tuned_bits_and_any_other_does_not(name: str, dtype: torch.dtype) -> None:
    pair = matrices(dtype)
    assert same_bits(healed(name, 0.0, pair), pair[1])
    assert not same_bits(healed(name, 1.0, pair), pair[1])


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_taken_back_is_linear_in_strength(name: str) -> None:
    pair = matrices()
    whole = pair[1] - healed(name, 1.0, pair)
    for strength in (0.25, 0.5, 0.8):
        assert torch.allclose(pair[1] - healed(name, strength, pair), strength * whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_same_call_gives_the_same_bits(name: str) -> None:
    assert same_bits(healed(name, 0.7, matrices(torch.bfloat16)), healed(name, 0.7, matrices(torch.bfloat16)))


@pytest.mark.parametrize("name", MEMBERS)
def test_the_edit_of_the_transpose_is_the_transpose_of_the_edit(name: str) -> None:
    if name == "random_subspace":
        pytest.skip("its bases are drawn for rows and columns as they stand")
    base, tuned = matrices()
    turned = healed(name, 1.0, (base.T.contiguous(), tuned.T.contiguous()))
    assert torch.allclose(turned.T, healed(name, 1.0, (base, tuned)), atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_measured_is_what_was_done(name: str) -> None:
    base, tuned = matrices()
    update = Update(base, tuned)
    edit = healer_named(name).edit(update, PLACE)
    done = take(update, edit, strength=0.6)
    result = healed(name, 0.6, (base, tuned))
    difference, taken = (tuned - base).numpy(), (tuned - result).numpy()
    assert done.energy == pytest.approx((difference**2).sum(), rel=1e-12)
    assert done.undone == pytest.approx((taken * difference).sum(), rel=1e-9, abs=1e-12)
    assert done.edited == pytest.approx((taken**2).sum(), rel=1e-9)
    assert edit.rank <= 2 * (ROWS + COLUMNS)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_blend_says_beforehand_what_its_edit_says(name: str) -> None:
    healer = healer_named(name)
    assert isinstance(healer, Blend) is (healer.scope == "everything")
    if isinstance(healer, Blend):
        for layer in (0, 1, 3, None):
            place = Place("x.weight", "mlp", layer, 4)
            edit = healer.edit(Update(*matrices()), place)
            assert (edit.share, edit.left_MK) == (healer.share_at(place), None)


@pytest.mark.parametrize("name", MEMBERS)
def test_what_did_not_move_keeps_its_bits_and_its_dtype(name: str, folders: Folders) -> None:
    operation = folders.operation(name=name, strength=0.9)
    pair, effects, unmoved = operation.pair, [], 0
    for one in operation.tensors():
        tuned = pair.tuned_files.read(one.entry.name)
        assert one.tensor.dtype == tuned.dtype
        assert one.tensor.shape == tuned.shape
        effects.append(one.effect)
        if same_bits(pair.base_files.read(one.entry.base_name), tuned):
            unmoved += 1
            assert same_bits(one.tensor, tuned), one.entry.name
            assert (one.effect.energy, one.effect.edited) == (0, 0)
        elif one.effect.edited == 0:
            assert same_bits(one.tensor, tuned), one.entry.name
    assert unmoved >= 10
    assert name == "intruders" or summary(effects).touched > 0


@pytest.mark.parametrize("name", MEMBERS)
def test_a_dry_run_measures_what_writing_does(name: str, folders: Folders) -> None:
    operation = folders.operation(name=name, strength=0.9)
    dry = [effect._replace(rounding=0.0) for effect in operation.effects()]
    assert dry == [one.effect._replace(rounding=0.0) for one in operation.tensors()]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_healing_written_down_is_the_same_healing(name: str) -> None:
    healing = Healing(healer_named(name), strength=0.5, on=parse("attention"))
    assert healing_of(healing.to_json()) == healing
    undoing = Healing(healer_named(name), undo=0.25)
    assert healing_of(undoing.to_json()) == undoing
