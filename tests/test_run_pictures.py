"""Whole runs on pictures with the library's real processors: tiny random Mllama and Qwen2.5-VL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holdfast.environments.general_points import GeneralPoints
from holdfast.evaluate.samples import read_samples
from holdfast.models.load import load
from holdfast.plan import check, plan
from holdfast.rollout.generate import generate
from holdfast.run import RunResult, run
from tiny_vision import WRITERS

CARDS = {
    "environment": "general_points", "rule": "faces_as_10", "cards_as": "picture", "resolution": 160, "suits": "black",
    "prompt_style": "terse",
}  # fmt: skip
DECODING = {"max_new_tokens": 4}
SEEING = ("vision_model", "visual", "multi_modal_projector")


@pytest.fixture(scope="module", params=sorted(WRITERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param) / "model")


def recipe(base: Path, **changes: Any) -> Any:
    red = {**CARDS, "suits": "red", "purpose": "ood", "size": 5, "decoding": DECODING}
    values = {
        "model_name_or_path": str(base), "attn_implementation": "eager", "trainable": "full", "data": CARDS,
        "suites": {"id": {**CARDS, "purpose": "id", "size": 5, "decoding": DECODING}, "red": red},
        "evaluate_at": "end", "budget": {"steps": 3}, "learning_rate": 1e-3, "per_device_train_batch_size": 2,
        "logging_steps": 1, **changes,
    }  # fmt: skip
    return check(values, source="test")


@pytest.fixture(scope="module")
def full(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(recipe(base), folder=tmp_path_factory.mktemp("full"))


def moved(base: Path, result: RunResult) -> set[str]:
    before = load_file(base / "model.safetensors")
    after = load_file(result.folder / f"checkpoint-{result.steps}" / "model.safetensors")
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.slow
def test_full_training_moves_what_sees_as_well(base: Path, full: RunResult) -> None:
    assert (full.status, full.steps) == ("finished", 3)
    names = moved(base, full)
    assert any("self_attn" in name for name in names)
    assert any(part in name for name in names for part in SEEING)
    assert any("cross_attn" in name for name in names) == ("mllama" in str(base))
    losses = [json.loads(line)["loss"] for line in (full.folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_planned_flops_of_pictures_are_those_that_were_spent(full: RunResult) -> None:
    planned = json.loads((full.folder / "plan.json").read_text())
    spent = json.loads((full.folder / "result.json").read_text())["spent"]
    assert spent["flops"] == pytest.approx(planned["total"]["flops"], rel=1e-9)
    assert spent["flops_6nd"] == pytest.approx(planned["total"]["flops_6nd"], rel=1e-9)


@pytest.mark.slow
def test_suites_show_black_and_red_cards_and_record_what_was_recognized(full: RunResult) -> None:
    last = full.records[-1]
    assert last.estimates["eval_red_success"].n == 5
    assert last.readings["eval_red_cards_ok"] == 0.0
    black, red = (read_samples(full.folder, name, 3) for name in ("id", "red"))
    assert "spades" in black[0].prompt or "clubs" in black[0].prompt
    assert "hearts" in red[0].prompt or "diamonds" in red[0].prompt


@pytest.mark.slow
def test_a_checkpoint_answers_as_a_model_with_its_processor(full: RunResult) -> None:
    saved = load(str(full.folder / "checkpoint-3"))
    assert saved.processor is not None
    game = GeneralPoints(
        **{key: CARDS[key] for key in CARDS if key not in ("environment", "rule")}, rules=("faces_as_10",)
    )
    asked = [game.prompt(game.sample("faces_as_10", "test", index, seed=1_000)) for index in range(5)]
    suite = recipe(full.folder / "checkpoint-3").suites["id"]
    replies = generate(saved.model, saved.speaker, asked, suite.decoding, batch_size=2, compute_dtype=torch.float32)
    assert [reply.text for reply in replies] == [sample.replies[0] for sample in read_samples(full.folder, "id", 3)]


@pytest.mark.slow
def test_attention_alone_leaves_what_sees_as_it_was(tmp_path: Path) -> None:
    base = WRITERS["mllama"](tmp_path / "model")
    both = {"roles": ["attention", "cross_attention"]}
    result = run(recipe(base, trainable=both, suites={}, budget={"steps": 1}), folder=tmp_path / "run")
    names = moved(base, result)
    assert any(".cross_attn." in name for name in names)
    assert any(".self_attn." in name for name in names)
    assert all("language_model." in name and ".mlp." not in name and "norm" not in name for name in names)


@pytest.mark.slow
def test_what_sees_is_not_trained_on_text(base: Path) -> None:
    planned = plan(recipe(base, suites={}, data={**CARDS, "cards_as": "text"}, budget={"steps": 1}))
    learning = {row.role for row in planned.selected.rows() if row.n_parameters}
    assert "attention" in learning
    assert not learning & {"vision", "projector", "cross_attention"}
