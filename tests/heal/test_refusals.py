"""What cannot be healed is refused in one line, with the models untouched and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_pair
from holdfast.errors import ModelError, UserError
from holdfast.heal.virtual import healed_tensors
from holdfast.heal.write import write_checkpoint
from holdfast.models.pairs import ModelPair, same_bits
from holdfast.models.safetensors_file import TensorSpec
from holdfast.models.tensors import TensorFolder, weight_files, write_folder
from tiny_pair import Folders

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return tiny_pair.write(tmp_path_factory.mktemp("whole"), max_shard_size=15_000)


@pytest.fixture
def made(whole: Folders, tmp_path: Path) -> Folders:
    """A copy that a test may damage."""
    return Folders(*(shutil.copytree(folder, tmp_path / folder.name) for folder in whole))


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a folder, which is one file afterwards."""
    files = TensorFolder(folder)
    tensors = {name: files.read(name) for name in files.names()}
    change(tensors)
    for path in [*weight_files(folder), *folder.glob("*.index.json")]:
        path.unlink()
    specs = [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_folder(folder, specs, tensors=tensors.items())


def contents(*folders: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(made: Folders, out: Path, said: str, kind: type[Exception] = UserError, **healing: Any) -> str:
    """Heal, and check that it is refused in one line with nothing written and nothing changed; return the line."""
    before = contents(*made)
    around = sorted(out.parent.iterdir()) if out.parent.is_dir() else None
    with pytest.raises(kind, match=said) as fault:
        write_checkpoint(made.operation(**({"name": "union"} | healing)), out)
    assert contents(*made) == before
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else None) == around
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_the_place_of_a_model_is_not_written_to(made: Folders, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(made.tuned)
    for out in (made.base, made.tuned, link, made.base / ".." / "base"):
        refused(made, out, "is a model that is read")
    for out in (made.tuned / "healed", link / "deep" / "er"):
        refused(made, out, "lies inside a model that is read")


def test_what_exists_is_not_written_over(made: Folders, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    refused(made, tmp_path / "full", "exists and is not empty")
    refused(made, tmp_path / "file", "is a file")
    refused(made, tmp_path, "exists and is not empty")  # the folder that holds both models
    (tmp_path / "empty").mkdir()
    write_checkpoint(made.operation(name="union"), tmp_path / "empty")
    write_checkpoint(made.operation(name="union"), tmp_path / "above" / "it")


def test_a_base_that_training_did_not_begin_with_is_refused(made: Folders, tmp_path: Path) -> None:
    def scrambled(tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))) * 0.02

    rewritten(made.base, scrambled)
    refused(made, tmp_path / "out", r"was not tuned from .* cosine of their weights is -?0\.\d+", ModelError)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(UP), f"1 are only in .*base .first: {UP}"),
        (lambda t: t.update({"model.layers.9.mlp.up_proj.weight": t[UP].clone()}), "1 tensors are only in .*tuned"),
        (lambda t: t.update({UP: t[UP].T.contiguous()}), r"differ in shape: .*up_proj.weight is \(24, 16\) in"),
        (lambda t: t.update({UP: t[UP][:20].clone()}), r"\(20, 16\) in the tuned model \(1 of 30 differ\)"),
        (lambda t: t.update({UP: t[UP] * torch.inf}), "holds .*NaN or infin"),
        (lambda t: t[UP].__setitem__((0, 0), torch.nan), "holds .*NaN or infin"),
        (lambda t: t["model.norm.weight"].__setitem__(0, torch.nan), "model.norm.weight holds NaN or infinity"),
        (lambda t: t.update({UP: t[UP].to(torch.float8_e4m3fn)}), "packed weights cannot be compared"),
    ],
    ids=["missing", "extra", "transposed", "shape", "infinite", "nan", "nan in a norm", "packed"],
)  # fmt: skip
def test_a_tuned_model_with_other_tensors_is_refused(made: Folders, tmp_path: Path, change: Any, said: str) -> None:
    rewritten(made.tuned, change)
    refused(made, tmp_path / "out", said, ModelError)


def test_packed_weights_that_are_the_same_and_tensors_that_are_no_parameters_are_copied(
    made: Folders, tmp_path: Path
) -> None:
    def packed(tensors: dict[str, Tensor]) -> None:
        tensors[UP] = (100 * tensors["model.layers.0.mlp.gate_proj.weight"]).round().div(100).to(torch.float8_e4m3fn)

    def more(tensors: dict[str, Tensor]) -> None:
        tensors["model.rotary_emb.inv_freq"] = torch.arange(4.0)
        tensors["model.steps"] = torch.tensor(7)
        tensors["model.nothing"] = torch.empty(0, 3)

    rewritten(made.base, packed)
    kept = TensorFolder(made.base).read(UP)
    rewritten(made.tuned, lambda tensors: tensors.update({UP: kept}))
    rewritten(made.tuned, more)
    for name in ("union", "interpolate"):
        healed = TensorFolder(write_checkpoint(made.operation(name=name), tmp_path / name).folder)
        for same in (UP, "model.rotary_emb.inv_freq", "model.steps", "model.nothing"):
            assert same_bits(healed.read(same), TensorFolder(made.tuned).read(same))


def test_a_tied_tensor_is_healed_and_written_once_whoever_wrote_it_twice(tmp_path: Path) -> None:
    once = tiny_pair.write(tmp_path / "once", "qwen2")
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    assert head not in TensorFolder(once.tuned).names()
    expected = healed_tensors(once.operation(name="interpolate", strength=0.4))
    for which in ([1], [0], [0, 1]):
        twice = Folders(*(shutil.copytree(folder, tmp_path / str(which) / folder.name) for folder in once))
        for side in which:
            rewritten(twice[side], lambda tensors: tensors.update({head: tensors[embedding].clone()}))
        operation = twice.operation(name="interpolate", strength=0.4)
        assert operation.pair.tied == ({head: embedding} if 1 in which else {})
        stored = TensorFolder(write_checkpoint(operation, tmp_path / str(which) / "out").folder)
        assert stored.names() == tuple(sorted(expected))
        assert all(same_bits(stored.read(name), tensor) for name, tensor in expected.items())


def test_a_file_that_was_cut_is_refused_when_opened_and_when_cut_later(made: Folders, tmp_path: Path) -> None:
    operation, shard = made.operation(name="interpolate", strength=0.5), weight_files(made.tuned)[1]
    os.truncate(shard, shard.stat().st_size - 100)
    with pytest.raises(ModelError, match="ends inside tensor"):
        write_checkpoint(operation, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "tuned"]
    refused(made, tmp_path / "out", r"has \d+ bytes, its header accounts for", ModelError)


def test_an_index_cannot_lead_out_of_its_folder(made: Folders, tmp_path: Path) -> None:
    index = made.tuned / "model.safetensors.index.json"
    facts = json.loads(index.read_text())
    facts["weight_map"][UP] = "../base/" + facts["weight_map"][UP]
    index.write_text(json.dumps(facts))
    refused(made, tmp_path / "out", "not a plain file name", ModelError)


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a small file system."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("32k", r"disk/out needs 0\.04 MB, and 0\.03 MB are free there\. Nothing was written"),
        ("48k", r"disk/out: no space left on device\. Nothing was left at .*disk/out"),
    ],
)
def test_a_disk_without_room_is_refused_before_and_a_full_one_meanwhile(
    made: Folders, tmp_path: Path, size: str, said: str
) -> None:
    with disk(tmp_path / "disk", size) as place:
        refused(made, place / "out", said)


def test_a_write_that_fails_leaves_nothing(made: Folders, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the system call fails in the middle of a shard."""
    operation = made.operation(name="union")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, limits[1]))
        with pytest.raises(UserError, match=r"heal: .*out.*: file too large\. Nothing was left at"):
            write_checkpoint(operation, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "tuned"]


def test_litter_of_the_dead_is_removed_and_that_of_others_is_not(made: Folders, tmp_path: Path) -> None:
    dead, other, living = (
        tmp_path / f".tmp-{name}" for name in ("out-999999999", "two-999999999", f"out-{os.getppid()}")
    )
    for litter in (dead, other, living):
        litter.mkdir()
        (litter / "half").write_text("x")
    write_checkpoint(made.operation(name="union"), tmp_path / "out")
    assert (dead.exists(), other.exists(), living.exists()) == (False, True, True)


def test_a_selection_without_a_tensor_for_the_healer_and_an_undo_out_of_reach_are_refused(made: Folders) -> None:
    with pytest.raises(UserError, match="holds no tensor that this healer can work on"):
        made.operation(name="union", on={"roles": ["norm"]})
    with pytest.raises(UserError, match=r"more than this healer undoes at strength 1 \(0\.\d+ of the update\)"):
        made.operation(name="values_only", undo=0.9)
    same = Folders(made.tuned, made.tuned)
    assert same.operation(name="union", undo=0.9).strength == 0


def test_models_of_other_shapes_are_named_as_they_were_given(made: Folders, tmp_path: Path) -> None:
    other = tiny_pair.write(tmp_path / "other", "mistral")
    with pytest.raises(ModelError, match=f"{made.base} and {other.tuned} differ in shape"):
        ModelPair(str(made.base), str(other.tuned))
