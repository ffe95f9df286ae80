"""What ranks write a tensor at a time is what Transformers writes from a model in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny_models
from holdfast.models.ranks import ALONE
from holdfast.models.tensors import TensorFolder
from holdfast.train import export


@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_streamed_folders_hold_what_transformers_writes(tmp_path: Path, architecture: str) -> None:
    model = tiny_models.build(architecture)
    expected, streamed = tmp_path / "expected", tmp_path / "streamed"
    for folder in (expected, streamed):
        folder.mkdir()
    export.write_export(expected, model=model, beside=(), save_dtype=torch.bfloat16, exposure=None, ranks=ALONE)
    export._write_sharded(streamed, model, save_dtype=torch.bfloat16, ranks=ALONE)
    theirs, ours = TensorFolder(expected), TensorFolder(streamed)
    assert ours.names() == theirs.names()
    for name in theirs.names():
        assert ours.spec(name) == theirs.spec(name)
        assert torch.equal(ours.read(name), theirs.read(name))
    assert {path.name: path.read_text() for path in streamed.glob("*.json")} == {
        path.name: path.read_text() for path in expected.glob("*.json")
    }


def test_tensors_that_change_form_together_are_streamed_together() -> None:
    model = tiny_models.build("mixtral")
    live = dict(model.state_dict())
    groups = export._groups(model, live)
    assert sorted(name for group in groups for name in group) == sorted(live)
    assert max(len(group) for group in groups) == 1
