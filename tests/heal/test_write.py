"""A healed checkpoint is an ordinary model folder: it loads, it is what it should be, and it says where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

import tiny_models
import tiny_pair
from holdfast.heal.healing import healing_of
from holdfast.heal.virtual import healed_tensors
from holdfast.heal.write import write_checkpoint
from holdfast.models.pairs import same_bits
from holdfast.models.tensors import TensorFolder, weight_files
from tiny_pair import Folders

IDS = torch.arange(3, 19).reshape(2, 8)
SHARDED = 15_000
"""Bytes of a shard that part the tiny Llama into three."""


def _gpt_oss() -> Any:
    """Return a mixture whose files hold each block's experts as stacks of matrices."""
    return hf.GptOssConfig(
        **tiny_models.DENSE, head_dim=8, num_local_experts=4, num_experts_per_tok=2,
        layer_types=["full_attention"] * 3,
    )  # fmt: skip


ARCHITECTURES = ("llama", "gpt2", "mixtral", "qwen2", "phi3", "gpt_oss")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Folders]]:
    place = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_models.CONFIGS, "gpt_oss", _gpt_oss)
        yield {name: tiny_pair.write(place / name, name, max_shard_size=SHARDED) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def llama(pairs: dict[str, Folders]) -> Folders:
    return pairs["llama"]


def logits(of: Any) -> Tensor:
    """Return what a model in memory, or in a folder, answers."""
    model = hf.AutoModelForCausalLM.from_pretrained(of) if isinstance(of, Path) else of
    with torch.no_grad():
        found: Tensor = model.eval()(IDS).logits
    return found


def in_files(folder: Path) -> dict[str, Tensor]:
    files = TensorFolder(folder)
    return {name: files.read(name) for name in files.names()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_interpolation_all_the_way_answers_as_the_base_bit_for_bit(
    architecture: str, pairs: dict[str, Folders], tmp_path: Path
) -> None:
    made = pairs[architecture]
    written = write_checkpoint(made.operation(name="interpolate"), tmp_path / "out")
    base, tuned = tiny_pair.models(architecture)
    assert torch.equal(logits(written.folder), logits(base))
    assert not torch.allclose(logits(tuned), logits(base), atol=1e-4)
    assert written.summary.undone == 1
    healed, stored = in_files(written.folder), in_files(made.tuned)
    assert {name: (t.dtype, t.shape) for name, t in healed.items()} == {
        name: (t.dtype, t.shape) for name, t in stored.items()
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_union_of_all_directions_is_the_base_in_all_matrices_of_blocks_and_tuned_elsewhere(
    architecture: str, pairs: dict[str, Folders], tmp_path: Path
) -> None:
    made = pairs[architecture]
    operation = made.operation(name="union", k=1.0)
    written = write_checkpoint(operation, tmp_path / "out")
    base, tuned, healed = (in_files(folder) for folder in (made.base, made.tuned, written.folder))
    matrices = {e.name for e in operation.pair.entries if e.matrices and e.layer is not None}
    assert len(matrices) >= 12
    for name, tensor in healed.items():
        if name in matrices:
            assert not torch.allclose(base[name], tuned[name], atol=1e-4)
            assert torch.allclose(tensor, base[name], atol=1e-6), name
        else:
            assert same_bits(tensor, tuned[name]), name
    live = {entry.parameter for entry in operation.pair.entries if entry.name in matrices}
    before, expected = tiny_pair.models(architecture)
    expected.load_state_dict({n: t for n, t in before.state_dict().items() if n in live}, strict=False)
    assert torch.allclose(logits(written.folder), logits(expected), atol=1e-5)


@pytest.mark.parametrize("healing", [{"name": "interpolate", "strength": 0.3}, {"name": "union", "k": 0.3}])
def test_what_is_held_in_memory_is_what_is_written(healing: Any, llama: Folders, tmp_path: Path) -> None:
    written = write_checkpoint(llama.operation(**healing), tmp_path / "out")
    virtual, stored = healed_tensors(llama.operation(**healing)), in_files(written.folder)
    assert virtual.keys() == stored.keys()
    assert all(same_bits(virtual[name], stored[name]) for name in stored)


def test_a_model_in_shards_comes_out_in_shards_that_are_no_larger(llama: Folders, tmp_path: Path) -> None:
    assert len(weight_files(llama.tuned)) == 3
    healed = write_checkpoint(llama.operation(name="union"), tmp_path / "out").folder
    sizes = [sorted(path.stat().st_size for path in weight_files(folder)) for folder in (llama.tuned, healed)]
    assert len(sizes[1]) == 3
    assert sizes[1][-1] <= sizes[0][-1] * 1.1
    small = write_checkpoint(llama.operation(name="union"), tmp_path / "small", max_shard_bytes=8_000).folder
    assert len(weight_files(small)) == 5
    assert all(same_bits(in_files(small)[name], tensor) for name, tensor in in_files(healed).items())


def test_what_stands_beside_the_weights_is_the_tuned_models(llama: Folders, tmp_path: Path) -> None:
    (llama.tuned / "chat_template.jinja").write_text("{{ messages }}")
    for name in ("training_args.bin", "modeling_custom.py", "notes.md"):
        (llama.tuned / name).write_text("not to be copied")
    healed = write_checkpoint(llama.operation(name="union"), tmp_path / "out").folder
    beside = {path.name for path in healed.iterdir() if path.suffix != ".safetensors"}
    assert beside == {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "exposure.json", "heal.json", "model.safetensors.index.json",
    }  # fmt: skip
    for name in beside - {"heal.json", "model.safetensors.index.json"}:
        assert (healed / name).read_bytes() == (llama.tuned / name).read_bytes()


def test_what_lies_beside_says_where_it_is_from_and_makes_it_again(llama: Folders, tmp_path: Path) -> None:
    healing = {"name": "union", "k": 3, "undo": 0.05, "on": {"preset": "full", "layers": "first:2"}}
    written = write_checkpoint(llama.operation(**healing), tmp_path / "out")
    facts = json.loads((written.folder / "heal.json").read_text())
    for side, folder in (("base", llama.base), ("tuned", llama.tuned)):
        assert facts[side]["name"] == str(folder)
        assert facts[side]["sha256"] == {path.name: digest(path) for path in weight_files(folder)}
    assert facts["healing"] == healing
    assert 0 < facts["strength"] < 1
    assert facts["summary"]["undone"] == pytest.approx(0.05)
    stored = in_files(written.folder)
    assert facts["tensors"].keys() == stored.keys()
    for name, tensor in stored.items():
        assert facts["tensors"][name]["sha256"] == hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
    assert sum(fact["healed"] for fact in facts["tensors"].values()) == facts["summary"]["touched"] == 14
    again = healed_tensors(llama.operation(**healing_of(facts["healing"]).to_json()))
    assert all(same_bits(again[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize("max_shard_size", [SHARDED, "1GB"])
def test_files_in_another_order_are_hashed_as_right(max_shard_size: Any, llama: Folders, tmp_path: Path) -> None:
    tiny_models.build("llama").save_pretrained(tmp_path / "base", max_shard_size="1GB")
    hf.AutoConfig.from_pretrained(llama.base).save_pretrained(tmp_path / "base")
    made = Folders(tmp_path / "base", llama.tuned) if max_shard_size == SHARDED else Folders(llama.base, llama.tuned)
    facts = json.loads(
        (write_checkpoint(made.operation(name="union"), tmp_path / "o").folder / "heal.json").read_text()
    )
    assert facts["base"]["sha256"] == {path.name: digest(path) for path in weight_files(made.base)}


def test_bf16_rounding_is_reported(tmp_path: Path) -> None:
    made = tiny_pair.write(tmp_path / "pair", dtype=torch.bfloat16)
    written = write_checkpoint(made.operation(name="interpolate", strength=0.01), tmp_path / "out")
    assert written.summary.rounding is not None
    assert written.summary.edit == pytest.approx(0.01, rel=1e-4)
    facts = json.loads((written.folder / "heal.json").read_text())
    assert facts["rounding_of_edit"] == pytest.approx(written.summary.rounding / 0.01, rel=1e-3)
    assert facts["rounding_of_edit"] > 0.9  # of one hundredth of a small update bfloat16 keeps next to nothing


def test_nothing_moved_is_written_as_it_was(llama: Folders, tmp_path: Path) -> None:
    written = write_checkpoint(Folders(llama.tuned, llama.tuned).operation(name="union"), tmp_path / "out")
    assert (written.summary.undone, written.summary.touched) == (None, 0)
    assert all(same_bits(in_files(llama.tuned)[n], tensor) for n, tensor in in_files(written.folder).items())
