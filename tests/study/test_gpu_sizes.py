"""The ladder of sizes for one GPU at toy size: it pre-trains, tunes a reference and the rungs, leaves records."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from holdfast.environments import ENVIRONMENTS
from holdfast.members import build
from holdfast.probes import PROBES
from holdfast.recipe import override, read
from holdfast.report import load_runs
from holdfast.study import load
from holdfast.train.pretrain import make_model, make_tokenizer, read_recipe

GPU = Path(__file__).parents[2] / "studies" / "gpu"
MILLIONS = {"size-0.3m": 0.3, "size-2m": 1.9, "size-10m": 10.7, "size-40m": 42.7}


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module; Python finds its neighbor only while it is asked for."""
    monkeypatch.syspath_prepend(GPU)
    yield importlib.import_module("sizes")
    for name in ("sizes", "in_turn"):
        sys.modules.pop(name, None)


def called(folder: Path, *words: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    words = (sys.executable, str(GPU / "sizes.py"), "--toy", *words)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_every_arm_of_the_toy_leaves_all_readings_and_a_second_call_finds_them(tmp_path: Path) -> None:
    called(tmp_path, "--output", "records")
    runs = {run.name: run for run in load_runs(tmp_path / "records")}
    assert list(runs) == ["lr 1e-3, 0.3", "lr 1e-3, 40"]
    for run in runs.values():
        assert [record.step for record in run.records] == [0, 2]
        assert set(run.result["measuring"]["probes"]) == set(PROBES)
        for record in run.records:
            assert record.readings["eval_ood_success"] is not None
            assert record.readings["interactions_gamma_preserved"] is not None, "the reference was not asked"
            assert record.readings["interactions_stable_preserved"] is not None
    assert not [path for path in (tmp_path / "records").rglob("*") if path.suffix == ".safetensors"]
    assert {path.stem for path in (tmp_path / "records").glob("size-*.yaml")} == {
        f"{name}-toy" for name in (*MILLIONS, "size-2m-neox")
    }
    called(tmp_path, "--output", "again", "--minutes", "0")  # starts nothing
    assert [run.name for run in load_runs(tmp_path / "again")] == list(runs)


@pytest.mark.parametrize("quick", [False, True])
def test_arms_are_tuned_from_rungs_and_ask_the_model_that_the_script_tunes(sizes: ModuleType, quick: bool) -> None:
    folders = {str((sizes.small(base) if quick else base).folder) for base in sizes.LADDER}
    arms = load(GPU / "sizes.yaml", quick=quick).arms
    assert {arm.base for arm in arms} <= folders
    assert quick or {arm.base for arm in arms} == folders
    last = arms[0].recipe.budget.steps if quick else 160
    for arm in arms:
        assert set(arm.recipe.probes_asked) == set(PROBES)
        asked = arm.recipe.probes_asked["interactions"]["references"]
        assert asked == [f"runs/sizes-reference{'-toy' if quick else ''}/checkpoint-{last}"]


def test_rungs_differ_in_width_and_rate_alone_and_have_the_weights_that_they_are_named_for(
    sizes: ModuleType, tmp_path: Path
) -> None:
    same: list[dict[str, Any]] = []
    for base in sizes.LADDER:
        recipe = read_recipe(base.file(tmp_path))
        with torch.device("meta"):
            model = make_model(recipe, make_tokenizer(recipe))
        weights = sum(weight.numel() for weight in model.model.layers.parameters())
        assert weights / 1e6 == pytest.approx(MILLIONS[base.folder.name], abs=0.05)
        values = recipe.model_dump(exclude={"learning_rate"})
        widths = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
        values["architecture"] = {key: value for key, value in values["architecture"].items() if key not in widths}
        same.append(values)
    assert same == [same[0]] * 4


def test_the_reference_is_of_another_family_and_sees_as_many_rows(sizes: ModuleType, tmp_path: Path) -> None:
    rung, other = (read_recipe(base.file(tmp_path)) for base in (sizes.LADDER[1], sizes.OTHER_FAMILY))
    assert other.steps * other.batch_size == rung.steps * rung.batch_size
    assert other.seed != rung.seed
    assert other.architecture["model_type"] != rung.architecture["model_type"]


def test_the_reference_learns_no_held_out_hand_and_few_prompts_of_the_arms(sizes: ModuleType) -> None:
    tuning = read(sizes.TUNING)
    learned = override(tuning, sizes.REFERENCE, source="")["data"]
    keys = ("environment", "prompt_style", "answer_format", "mode")
    name, *options = (tuning["data"][key] for key in keys)
    game = build("environment", {"name": name, **dict(zip(keys[1:], options, strict=True))}, ENVIRONMENTS)

    def hands(split: str, size: int, seed: int) -> list[Any]:
        return [game.sample(learned["rule"], split, number, seed=seed) for number in range(size)]

    own, trained = hands("train", learned["size"], learned["seed"]), hands("train", tuning["data"]["size"], 0)
    values, prompts = {hand.key for hand in own}, {str(game.prompt(hand)) for hand in own}
    for split in ("validation", "recall"):
        assert not values & {hand.key for hand in hands(split, 300, 0)}
    # What studies/gpu/README.md says of it.
    assert sum(hand.key in values for hand in trained) == 255
    shown = {str(game.prompt(hand)) for hand in trained}
    assert (len(shown & prompts), len(shown)) == (73, 254)
