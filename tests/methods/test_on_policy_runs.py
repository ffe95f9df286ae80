"""Reinforcement in whole runs, on a random model that half solves its task: it learns, spends, and goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_base
from holdfast.errors import RecipeError
from holdfast.methods.group_relative import GroupRelative
from holdfast.plan import check, plan
from holdfast.recipe import Recipe
from holdfast.rollout import answerer as rollout
from holdfast.run import run
from holdfast.train.progress import Silent

GRPO = {"name": "grpo", "num_generations": 4, "max_new_tokens": 5}
PPO = {"name": "ppo", "num_ppo_epochs": 2, "max_new_tokens": 5, "value_hidden": 16}


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    task = {"environment": "first_letter:FirstLetter", "rule": "early"}
    return {
        "model_name_or_path": str(tiny_base.write(tmp_path_factory.mktemp("policy") / "base")),
        "attn_implementation": "eager",
        "data": {**task, "size": 64},
        "suites": {"id": {**task, "purpose": "id", "size": 40, "decoding": {"temperature": 1.0, "max_new_tokens": 5}}},
        "evaluate_at": "end",
        "budget": {"steps": 6},
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
    }


def recipe(values: Mapping[str, Any], method: Any, **changes: Any) -> Recipe:
    return check({**values, "method": method, **changes}, source="test", allow_code=True)


def carried_out(asked: Recipe, folder: Path, **more: Any) -> Path:
    return run(asked, folder=folder, allow_code=True, **more).folder


def logs(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("method", [GRPO, {**PPO, "value_trunk": "detached"}], ids=["grpo", "ppo"])
def test_reinforcement_raises_the_reward(method: dict[str, Any], values: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe(values, method, budget={"steps": 40}, per_device_train_batch_size=16)
    told = [line for line in logs(carried_out(asked, tmp_path / "run")) if "train_success" in line]
    rates = [line["train_success"] for line in told]
    early, late = sum(rates[:4]) / 4, sum(rates[-4:]) / 4
    assert 0.2 < early < 0.8
    assert late > early + 0.15
    assert all(line["reward"] == line["train_success"] for line in told)


def test_a_step_learns_what_was_played_and_the_budget_counts_both(values: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe(values, GRPO)
    planned = plan(asked, allow_code=True)
    folder = carried_out(asked, tmp_path / "run", planned=planned)
    told, lines = json.loads((folder / "result.json").read_text()), logs(folder)
    written = sum(line["reply_tokens"] * 16 for line in lines)
    assert told["spent"]["generated_tokens"] == pytest.approx(written)
    assert told["spent"]["target_tokens"] == pytest.approx(written)
    assert told["spent"]["examples"] == 6 * 16
    assert all(0 <= line["mixed_groups"] <= 1 for line in lines)
    sft = plan(recipe(values, "sft"), allow_code=True)
    # Learning is 6 N a token, answering 2 N; one step a rollout scores nothing. So it costs about 8/6 of SFT's.
    assert planned.step.flops_6nd / sft.step.flops_6nd == pytest.approx(8 / 6, rel=0.02)
    assert planned.step.generated_tokens == sft.step.target_tokens


def test_groups_of_equal_worth_take_no_pass_and_change_nothing(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(values, GRPO)
    without = carried_out(asked, tmp_path / "without")
    monkeypatch.setattr(GroupRelative, "teaches", lambda *_: True)
    whole = carried_out(asked, tmp_path / "whole")
    lines = list(zip(logs(without), logs(whole), strict=True))
    assert any(line["mixed_groups"] < 1 for line, _ in lines)
    for one, other in lines:
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3, abs=1e-6)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-6)
        assert one["reward"] == other["reward"]
    spent = [json.loads((folder / "result.json").read_text())["spent"] for folder in (without, whole)]
    assert spent[0]["flops"] < spent[1]["flops"]
    assert {name: spent[0][name] for name in ("examples", "target_tokens", "generated_tokens")} == {
        name: spent[1][name] for name in ("examples", "target_tokens", "generated_tokens")
    }


def test_passes_over_one_rollout_cost_one_rollout(values: dict[str, Any], tmp_path: Path) -> None:
    asked = recipe(values, {**GRPO, "num_iterations": 2, "steps_per_generation": 2, "epsilon": 0.01})
    lines = logs(carried_out(asked, tmp_path / "run"))
    assert [("reward" in line) for line in lines] == [True, False, False, False, True, False]
    assert lines[0]["policy_drift"] == lines[4]["policy_drift"] == pytest.approx(0.0, abs=1e-3)
    assert abs(lines[3]["policy_drift"]) > 1e-3
    assert lines[3]["clip_share"] > 0


def test_finished_episodes_are_not_asked_again(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_rows: list[int] = []
    real = rollout.generate_from

    def counting(model: Any, tokenizer: Any, prompts: Any, *args: Any, **kwargs: Any) -> Any:
        asked_rows.append(len(prompts))
        return real(model, tokenizer, prompts, *args, **kwargs)

    monkeypatch.setattr(rollout, "generate_from", counting)
    asked = recipe(values, {**GRPO, "attempts": 3}, budget={"steps": 1}, suites={})
    folder = carried_out(asked, tmp_path / "run")
    (line,) = logs(folder)
    first, second, third = asked_rows
    assert first == 16 > second > third
    told = json.loads((folder / "result.json").read_text())
    assert told["spent"]["examples"] == sum(asked_rows)
    assert round(line["train_success"] * 16) >= first - third


class Interrupting(Silent):
    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [{**GRPO, "num_iterations": 2, "steps_per_generation": 2, "beta": 0.1}, {**PPO, "num_mini_batches": 2}],
    ids=["grpo", "ppo"],
)
def test_a_run_that_broke_off_within_a_rollout_ends_as_an_unbroken_one(
    method: dict[str, Any], values: dict[str, Any], tmp_path: Path
) -> None:
    asked = recipe(values, method)
    whole = carried_out(asked, tmp_path / "whole")
    broken = tmp_path / "broken"
    assert run(asked, folder=broken, progress=Interrupting(), allow_code=True).status == "interrupted"
    assert run(asked, folder=broken, allow_code=True).status == "finished"
    assert (broken / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    expected, found = (load_file(folder / "checkpoint-6" / "model.safetensors") for folder in (whole, broken))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_strong_kl_keeps_the_policy_at_its_base(values: dict[str, Any], tmp_path: Path) -> None:
    kl = {}
    for beta in (1e-4, 10.0):
        asked = recipe(values, {**GRPO, "beta": beta}, budget={"steps": 20})
        kl[beta] = logs(carried_out(asked, tmp_path / str(beta)))[-1]["kl"]
    assert 0 <= kl[10.0] < 0.5 * kl[1e-4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": {"name": "grpo", "num_generations": 5}}, "no multiple of 5"),
        ({"method": "grpo", "objective": "dft"}, "a loss of its own"),
        ({"method": "ppo", "normalize": "examples"}, "a normalization of its own"),
        ({"method": "gpro"}, "grpo"),
        ({"method": {"name": "grpo", "temprature": 1.0}}, "temperature"),
        ({"method": "ppo", "data": {"path": "rows.jsonl"}}, "names a file"),
    ],
)
def test_what_would_train_something_else_is_refused(
    changes: dict[str, Any], words: str, values: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=words):
        check({**values, **changes}, source="test", allow_code=True)
