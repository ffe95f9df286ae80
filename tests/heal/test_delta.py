"""A healing as a difference of low rank: applied it is the healed model, undone the tuned one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import tiny_models
import tiny_pair
from holdfast.errors import ModelError, UserError
from holdfast.heal.delta import apply_delta, read_delta, undo_delta, write_delta
from holdfast.heal.virtual import healed_tensors
from holdfast.heal.write import write_checkpoint
from holdfast.models.pairs import same_bits
from holdfast.models.tensors import TensorFolder
from tiny_pair import Folders

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def _gpt_oss() -> Any:
    return hf.GptOssConfig(**tiny_models.DENSE, head_dim=8, num_local_experts=4, num_experts_per_tok=2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folders]:
    place = tmp_path_factory.mktemp("pairs")
    made = {name: tiny_pair.write(place / name, dtype=dtype) for name, dtype in DTYPES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_models.CONFIGS, "gpt_oss", _gpt_oss)
        return made | {"stacks": tiny_pair.write(place / "stacks", "gpt_oss")}


@pytest.mark.parametrize("which", ["float32", "bfloat16", "stacks"])
def test_an_applied_delta_is_the_healed_model_and_an_undone_one_the_tuned(
    which: str, pairs: dict[str, Folders], tmp_path: Path
) -> None:
    made = pairs[which]
    operation = made.operation(name="union", k=2, strength=1.0)
    written = write_delta(operation, tmp_path / "delta")
    healed = TensorFolder(apply_delta(str(made.tuned), tmp_path / "delta", tmp_path / "healed"))
    expected, tuned = healed_tensors(operation), TensorFolder(made.tuned)
    assert healed.names() == tuned.names()
    assert all(same_bits(healed.read(name), tensor) for name, tensor in expected.items())
    back = TensorFolder(undo_delta(str(tmp_path / "healed"), tmp_path / "delta", tmp_path / "back"))
    for name in back.names():
        one, other, between = (files.read(name) for files in (back, tuned, healed))
        if name in read_delta(tmp_path / "delta").matrices:
            # Rounded twice: half a unit in the last place of the healed value, and half of one of the sum.
            unit = torch.finfo(one.dtype).eps * torch.maximum(between.abs(), other.abs()).double()
            assert bool(((one.double() - other.double()).abs() <= 1.01 * unit).all())
        else:
            assert same_bits(one, other)
    assert written.summary == write_checkpoint(operation, tmp_path / "c").summary._replace(rounding=0.0)
    hf.AutoModelForCausalLM.from_pretrained(tmp_path / "back")


def test_a_delta_of_partial_strength_says_what_it_is(pairs: dict[str, Folders], tmp_path: Path) -> None:
    made = pairs["float32"]
    operation = made.operation(name="uv_merge", k=2, strength=0.5)
    write_delta(operation, tmp_path / "delta")
    facts = json.loads((tmp_path / "delta" / "delta.json").read_text())
    assert facts["healing"]["name"] == "uv_merge"
    assert facts["strength"] == 0.5
    assert len(facts["tensors"]) == 21
    healed = TensorFolder(apply_delta(str(made.tuned), tmp_path / "delta", tmp_path / "healed"))
    for name, tensor in healed_tensors(operation).items():
        assert torch.allclose(healed.read(name), tensor, atol=1e-8)
    assert json.loads((tmp_path / "healed" / "heal.json").read_text())["delta"] == {
        "of": str(made.tuned),
        "undone": False,
    }


@pytest.mark.parametrize(
    "healing", [{"name": "interpolate"}, {"name": "lines"}, {"name": "noise_edge"}, {"name": "uv_merge", "k": 1.0}]
)
def test_what_takes_back_a_share_of_everything_is_no_delta(
    healing: Any, pairs: dict[str, Folders], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no product of low rank is: write it as a checkpoint"):
        write_delta(pairs["float32"].operation(**healing), tmp_path / "delta")
    assert list(tmp_path.iterdir()) == []


def test_a_delta_is_refused_by_a_model_that_it_was_not_made_for(pairs: dict[str, Folders], tmp_path: Path) -> None:
    made = pairs["float32"]
    write_delta(made.operation(name="union", k=2), tmp_path / "delta")
    with pytest.raises(ModelError, match=r"is not the model that .* was made for: .* differs"):
        apply_delta(str(made.base), tmp_path / "delta", tmp_path / "out")
    with pytest.raises(ModelError, match="holds no tensor"):
        undo_delta(str(pairs["stacks"].base), tmp_path / "delta", tmp_path / "out")
    other = tiny_pair.write(tmp_path / "other", "mistral")
    with pytest.raises(ModelError, match="the delta's factors do not"):
        undo_delta(str(other.base), tmp_path / "delta", tmp_path / "out")
    with pytest.raises(UserError, match="is a model that is read"):
        apply_delta(str(made.tuned), tmp_path / "delta", made.tuned)
    with pytest.raises(ModelError, match=r"is no delta: it holds no delta\.json"):
        apply_delta(str(made.tuned), made.base, tmp_path / "out")
    damaged = shutil.copytree(tmp_path / "delta", tmp_path / "damaged")
    with (damaged / "delta.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(ModelError, match="its header accounts for"):
        apply_delta(str(made.tuned), damaged, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_delta_of_few_directions_is_smaller_than_the_model(tmp_path: Path) -> None:
    made = tiny_pair.write(tmp_path / "pair")
    write_delta(made.operation(name="core", k=1), tmp_path / "delta")
    size, whole = (
        sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in (tmp_path / "delta", made.tuned)
    )
    assert size < whole / 2
