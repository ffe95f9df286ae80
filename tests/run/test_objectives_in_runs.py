"""Objectives that ask a base model or an old policy, in whole runs: prices, logs, and nothing lost by an interrupt."""

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
from holdfast.plan import check, plan
from holdfast.recipe import Recipe
from holdfast.run import run
from holdfast.train.progress import Silent


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("objectives")
    rows = [{"prompt": "numbers " * (1 + n % 5), "completion": "cards " * (1 + n % 4)} for n in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "model_name_or_path": str(tiny_base.write(folder / "base")),
        "attn_implementation": "eager",
        "data": {"path": str(folder / "rows.jsonl")},
        "evaluate_at": "end",
        "budget": {"steps": 7},
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "logging_steps": 1,
    }


def recipe(values: Mapping[str, Any], objective: Any, **changes: Any) -> Recipe:
    return check({**values, "objective": objective, **changes}, source="test")


def logs(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint-7" / "model.safetensors")


PASSES = {
    "nll": 0,
    "proximal": 1,
    "threshold": 1,
    "anchored": 1,
    "sample_weighted": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
def test_a_run_spends_what_was_planned_with_every_pass_of_its_objective(
    name: str, values: dict[str, Any], tmp_path: Path
) -> None:
    own, nll = recipe(values, name), recipe(values, "nll")
    planned, plain = plan(own), plan(nll)
    told = json.loads((run(own, folder=tmp_path / "run", planned=planned).folder / "result.json").read_text())
    assert told["spent"]["flops"] == pytest.approx(planned.total.flops, rel=1e-12)
    # Of forward and backward of full training, forward alone is a third of what weights cost.
    passes = (planned.total.flops_6nd - plain.total.flops_6nd) / (plain.total.flops_6nd / 3)
    assert passes == pytest.approx(PASSES[name], abs=1e-6)
    assert (planned.memory.base > 0) == (name in ("threshold", "anchored", "sample_weighted"))


@pytest.mark.slow
def test_weights_that_begin_at_one_take_the_first_step_of_nll(values: dict[str, Any], tmp_path: Path) -> None:
    """The old policy, and the base, are the model itself at step 1."""
    first = {}
    for name in ("nll", "proximal", "importance"):
        line = logs(run(recipe(values, name), folder=tmp_path / name).folder)[0]
        first[name] = {key: line[key] for key in ("loss", "nll", "grad_norm")}
        assert line["mean_weight"] == pytest.approx(1.0, abs=1e-6)
        assert line["entropy"] > 0
    assert first["proximal"] == pytest.approx(first["nll"], rel=1e-5)
    assert first["importance"] == pytest.approx(first["nll"], rel=1e-5)


@pytest.mark.slow
def test_a_proximal_run_clips_until_its_old_policy_is_taken_anew(values: dict[str, Any], tmp_path: Path) -> None:
    told = logs(run(recipe(values, {"name": "proximal", "clip": 0.05, "refresh": 3}), folder=tmp_path / "run").folder)
    dropped = [line["no_weight_share"] for line in told]
    assert dropped[0] == dropped[3] == dropped[6] == 0.0
    assert dropped[1] > 0
    assert dropped[4] > 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["nll", "dft"])
def test_metrics_are_those_of_the_step_however_it_is_cut_into_micro_batches(
    objective: str, values: dict[str, Any], tmp_path: Path
) -> None:
    told = []
    for rows in (8, 4, 1):
        cut = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 8 // rows}
        asked = recipe(values, objective, budget={"steps": 2}, compute_dtype="float32", **cut)
        told.append(logs(run(asked, folder=tmp_path / str(rows)).folder))
    for whole, *others in zip(*told, strict=True):
        assert any(value > 0 for name, value in whole.items() if name.startswith("gradient_variance"))
        for other in others:
            assert {**other, "tokens_per_second": 0} == pytest.approx({**whole, "tokens_per_second": 0}, rel=1e-4)


class Interrupting(Silent):
    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_a_proximal_run_that_broke_off_between_two_old_policies_ends_as_an_unbroken_one(
    values: dict[str, Any], tmp_path: Path
) -> None:
    asked = recipe(values, {"name": "proximal", "clip": 0.05, "refresh": 3})
    whole = run(asked, folder=tmp_path / "whole").folder
    broken = tmp_path / "broken"
    assert run(asked, folder=broken, progress=Interrupting()).status == "interrupted"
    assert run(asked, folder=broken).status == "finished"
    assert (broken / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    expected, found = weights(whole), weights(broken)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_strong_anchor_keeps_a_run_at_its_base(values: dict[str, Any], tmp_path: Path) -> None:
    ends = {}
    for strength in (0.01, 100.0):
        asked = recipe(values, {"name": "anchored", "on": "nll", "strength": strength}, learning_rate=1e-3)
        line = logs(run(asked, folder=tmp_path / str(strength)).folder)[-1]
        ends[strength] = line["penalty"] / strength
    assert 0 < ends[100.0] < ends[0.01]
