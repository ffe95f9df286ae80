"""A study is planned arm by arm, each once, under its own matching."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import tiny_base
from holdfast.cli import app
from holdfast.plan import plan
from holdfast.study import load
from holdfast.study.plans import ArmPlan, plans, plans_table

CARDS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "size": 64}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    base = {
        "model_name_or_path": str(tiny_base.write(folder / "base")),
        "data": CARDS,
        "budget": {"steps": 12, "reference": "full"},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
    }
    axes = {"trainable": ["full", "attention"], "budget.match": ["flops", "trainable"]}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"base": base, "axes": axes, "seeds": [0, 1, 2]}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def arms(file: Path) -> list[ArmPlan]:
    return list(plans(load(file)))


def test_seeds_are_planned_once_and_twins_not_at_all(arms: list[ArmPlan]) -> None:
    assert [(arm.name, arm.seeds) for arm in arms] == [
        ("full, flops", (0, 1, 2)), ("full, trainable", (0, 1, 2)),
        ("attention, flops", (0, 1, 2)), ("attention, trainable", (0, 1, 2)),
    ]  # fmt: skip
    assert [arm.same_as for arm in arms] == ["", "full, flops", "", ""]


def test_an_arm_is_planned_as_its_recipe_alone_would_be(file: Path, arms: list[ArmPlan]) -> None:
    last = next(arm.recipe for arm in load(file).arms if arm.name == "attention, trainable")
    assert arms[-1].plan.to_json() == plan(last).to_json()


def test_fewer_parameters_get_more_steps_by_either_matching(arms: list[ArmPlan]) -> None:
    full, _, flops, trainable = (arm.plan for arm in arms)
    assert full.steps == 12 < flops.steps < trainable.steps
    assert flops.total.flops == pytest.approx(full.total.flops, rel=0.5 / flops.steps + 0.01)
    assert trainable.total.flops_trainable == pytest.approx(
        full.total.flops_trainable, rel=0.5 / trainable.steps + 0.01
    )


def test_the_table_has_a_row_an_arm_with_all_four_counts(arms: list[ArmPlan]) -> None:
    found = plans_table(arms, tflops=100.0)
    assert len(found.rows) == 4
    assert {"trainable", "steps", "FLOPs", "6·N·D", "6·N_trainable·D", "tokens", "memory", "hours"} <= set(
        found.columns
    )
    assert all(len(row) == len(found.columns) == len(found.align) for row in found.rows)
    assert found.rows[1][:2] == ("full, trainable", "trainable")
    assert any("same run as full, flops" in note for note in found.notes)


def test_the_verb_tells_a_study_from_a_recipe(file: Path) -> None:
    said = CliRunner().invoke(
        app, ["plan", str(file), "--json", "--budget.steps", "5", "--devices", "2", "--tflops", "9"]
    )
    assert said.exit_code == 0, said.output
    rows = json.loads(said.stdout)
    assert [row["arm"] for row in rows][::3] == ["full, flops", "attention, trainable"]
    assert rows[0]["steps"] == 5
    assert rows[0]["processes"] == rows[0]["memory"]["devices"] == 2
    assert rows[0]["hours"] == pytest.approx(rows[0]["flops_total"] / (2 * 9e12) / 3600)
