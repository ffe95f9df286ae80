"""A recipe that heals its model: measured without training, trained on, and as arms of a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny_base
from holdfast.errors import RecipeError
from holdfast.models.load import load
from holdfast.models.tensors import TensorFolder
from holdfast.plan import check
from holdfast.run import run
from holdfast.study import load as load_study

POINTS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A base, and a model that lies a little beside it."""
    base = tiny_base.write(tmp_path_factory.mktemp("models") / "base")
    loaded = load(str(base))
    with torch.no_grad():
        for number, (_, parameter) in enumerate(loaded.model.named_parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.02 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    tuned = base.parent / "tuned"
    loaded.model.save_pretrained(tuned)
    loaded.tokenizer.save_pretrained(tuned)
    return base, tuned


def values(tuned: Path, **changes):
    return {
        "model_name_or_path": str(tuned),
        "data": POINTS,
        "suites": {"id": {**POINTS, "purpose": "id", "size": 4, "decoding": {"max_new_tokens": 8}}},
        "evaluate_at": "end",
        "budget": {"steps": 0},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        **changes,
    }


def test_interpolation_at_full_strength_measures_and_saves_the_base_bit_for_bit(pair, tmp_path):
    base, tuned = pair
    recipe = check(values(tuned, heal={"name": "interpolate", "toward": str(base)}), source="test")
    found = run(recipe, folder=tmp_path / "run", base_cache=tmp_path / "cache")
    assert (found.status, found.steps) == ("finished", 0)
    (record,) = found.records
    assert record.readings["heal_undone"] == 1.0
    assert record.readings["heal_artefact"] == 0.0
    ours, theirs = TensorFolder(found.folder / "checkpoint-0"), TensorFolder(base)
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.names())


def test_a_union_is_rounded_once_and_undoes_what_it_says(pair, tmp_path):
    base, tuned = pair
    recipe = check(values(tuned, heal={"name": "union", "k": 0.5, "undo": 0.1, "toward": str(base)}), source="test")
    found = run(recipe, folder=tmp_path / "run", base_cache=tmp_path / "cache")
    assert found.records[0].readings["heal_undone"] == pytest.approx(0.1)
    b, t, h = (TensorFolder(place) for place in (base, tuned, found.folder / "checkpoint-0"))
    moved = {n: t.read(n).double() - b.read(n).double() for n in t.names()}
    back = {n: t.read(n).double() - h.read(n).double() for n in t.names()}
    share = sum(float((back[n] * moved[n]).sum()) for n in moved) / sum(float(d.square().sum()) for d in moved.values())
    assert share == pytest.approx(0.1, abs=0.02)  # of bfloat16 weights, each rounded to its grid
    result = json.loads((found.folder / "result.json").read_text())
    assert result["heal_seconds"] > 0
    assert result["spent"]["flops"] > 0


def test_training_goes_on_from_the_healed_weights(pair, tmp_path):
    base, tuned = pair
    heal = {"name": "interpolate", "toward": str(base)}
    healed = run(check(values(tuned, heal=heal, budget={"steps": 2}), source="test"), folder=tmp_path / "healed")
    plain = run(check(values(base, budget={"steps": 2}), source="test"), folder=tmp_path / "plain")
    ours, theirs = (TensorFolder(one.folder / "checkpoint-2") for one in (healed, plain))
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.names())


@pytest.mark.parametrize(
    ("heal", "words"),
    [
        ({"name": "unoin", "toward": "pocket"}, 'Did you mean "union"'),
        ({"name": "union", "toward": "pockte"}, "heal.toward"),
        ({"name": "union"}, "heal.toward: is missing"),
        ({"name": "union", "kk": 0.2, "toward": "pocket"}, "no such option"),
        ({"name": "union", "k": 1.5, "toward": "pocket"}, "share in"),
        ({"name": "union", "strength": 2, "toward": "pocket"}, "strength must lie in"),
        ({"name": "union", "on": "atention", "toward": "pocket"}, 'Did you mean "attention"'),
    ],
)
def test_a_fault_of_a_heal_block_is_said_by_name(pair, heal, words):
    with pytest.raises(RecipeError, match=words):
        check(values(pair[1], heal=heal), source="test")


def test_an_arm_may_be_healed_towards_another_arms_checkpoint(pair, tmp_path):
    file = tmp_path / "study.yaml"
    block = {**values(pair[1]), "budget": {"steps": 4}}
    text = {
        "base": block,
        "axes": {
            "arm": {
                "healed": {
                    "starts_from": {"arm": "sft", "step": 4},
                    "heal": {"name": "union", "toward": {"arm": "sft", "step": 2}},
                    "budget.steps": 0,
                },
                "sft": {"save_steps": 2},
            }
        },
    }
    file.write_text(json.dumps(text))
    study = load_study(file, runs=tmp_path / "runs")
    healed, sft = study.arms
    assert [need.address for need in healed.needs] == [sft.address] * 2
    assert healed.recipe.heal["toward"] == str(tmp_path / "runs" / sft.address / "checkpoint-2")
    text["axes"]["arm"]["healed"]["heal"]["toward"]["step"] = 3
    file.write_text(json.dumps(text))
    with pytest.raises(RecipeError, match=r"heal\.toward\.step: arm 'sft' keeps no checkpoint at step 3"):
        load_study(file, runs=tmp_path / "runs")
    text["axes"]["arm"]["healed"]["heal"]["toward"] = {"arm": "stf", "step": 2}
    file.write_text(json.dumps(text))
    with pytest.raises(RecipeError, match=r"heal\.toward: no arm before it"):
        load_study(file, runs=tmp_path / "runs")


def test_the_address_of_a_healed_arm_depends_on_what_it_is_healed_towards(pair, tmp_path):
    file, seen = tmp_path / "study.yaml", set()
    for step in (2, 4):
        heal = {"name": "union", "toward": {"arm": "sft", "step": step}}
        arms = {
            "sft": {"save_steps": 2, "budget.steps": 4},
            "healed": {"starts_from": {"arm": "sft", "step": 4}, "heal": heal},
        }
        file.write_text(json.dumps({"base": values(pair[1]), "axes": {"arm": arms}}))
        seen.add(load_study(file, runs=tmp_path / "runs").arms[1].address)
    assert len(seen) == 2
