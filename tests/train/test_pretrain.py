from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from holdfast.errors import RecipeError, RunFolderError
from holdfast.models.load import load
from holdfast.records import Record
from holdfast.train.pretrain import pretrain

RECIPE = {
    "architecture": {
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256,
    },
    "tokenizer": {"environments": ["general_points"]},
    "mixture": {
        "name": "general_points", "formats": {"formula": 1.0}, "styles": {"terse": 1.0},
        "fixed_rules": {}, "held_out_rules": ["faces_as_5_7_9"],
    },
    "steps": 6, "batch_size": 8, "micro_batches": 3, "warmup_steps": 2, "save_steps": 0,
}  # fmt: skip


class Interrupting:
    def __init__(self, at: int) -> None:
        self.at = at
        self.losses: list[float] = []

    def said(self, line: str) -> None: ...

    def started(self, steps: int, *, at: int) -> None: ...

    def logged(self, metrics: Mapping[str, float]) -> None:
        self.losses.append(metrics["loss"])
        if metrics["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def measured(self, record: Record) -> None: ...


def write(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


def test_a_base_is_a_plain_model_folder_that_says_what_it_saw(tmp_path: Path) -> None:
    folder = pretrain(write(tmp_path), tmp_path / "base")
    loaded = load(str(folder))
    assert loaded.exposure is not None
    assert loaded.exposure["environments"]["general_points"]["held_out_rules"] == ["faces_as_5_7_9"]
    assert {"pretraining.yaml", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert "training-in-progress" not in {path.name for path in folder.iterdir()}
    with pytest.raises(RunFolderError, match="not overwritten"):
        pretrain(write(tmp_path), folder)


def test_an_interrupted_pre_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = pretrain(write(tmp_path), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(write(tmp_path), tmp_path / "broken", progress=Interrupting(1))
    broken = pretrain(write(tmp_path), tmp_path / "broken")
    left, right = (load_file(folder / "model.safetensors") for folder in (whole, broken))
    assert all((left[name] == right[name]).all() for name in left)


def test_all_faults_of_a_recipe_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        pretrain(write(tmp_path, steps=0, learning_rat=1), tmp_path / "base")
    assert len(caught.value.faults) == 2
    with pytest.raises(RecipeError, match="architecture"):
        pretrain(write(tmp_path, architecture={"model_type": "lama"}), tmp_path / "base")
