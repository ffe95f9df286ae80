"""The figures of a plan: what learns, how many steps, what it costs, what the suites ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_base
import tiny_models
from holdfast.errors import DataError
from holdfast.models.skeleton import skeleton
from holdfast.models.structure import roles
from holdfast.plan import Plan, label_of, plan
from holdfast.plan.memory import MASTER, Shape, estimate
from holdfast.recipe import Recipe
from holdfast.train.budget import Spent

CARDS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "size": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.write(tmp_path_factory.mktemp("base"))


def planned(base: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "model_name_or_path": str(base),
        "trainable": "attention",
        "data": CARDS,
        "suites": {
            "id": {"environment": "general_points", "rule": "faces_as_10", "purpose": "id"},
            "ood": {"environment": "general_points", "rule": "faces_as_5_7_9", "purpose": "ood", "size_during": 50},
        },
        "budget": {"steps": 10},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        **changes,
    }
    return plan(Recipe.model_validate(values))


def test_the_table_adds_up_to_the_model_and_to_what_learns(base: Path) -> None:
    found = planned(base).to_json()["trainable"]
    assert sum(row["parameters"] for row in found["rows"]) == found["n_parameters"]
    assert sum(row["trainable"] for row in found["rows"]) == found["n_trainable"] == 2 * 4 * 16 * 16
    assert {row["role"] for row in found["rows"] if row["trainable"]} == {"attention"}
    assert found["label"] == "attention"


def test_planning_reads_no_weights(base: Path) -> None:
    assert all(weight.is_meta for weight in skeleton(str(base)).model.parameters())


def test_steps_spend_what_the_reference_spends(base: Path) -> None:
    full = planned(base, trainable="full")
    assert full.steps == 10
    assert planned(base).steps == 10
    arm = planned(base, budget={"steps": 10, "match": "flops", "reference": "full"})
    assert arm.steps > 10
    assert abs(arm.total.flops - full.total.flops) <= arm.step.flops / 2
    fewer = planned(base, budget={"steps": 10, "match": "trainable", "reference": "full"})
    assert fewer.steps == round(10 * full.step.flops_trainable / fewer.step.flops_trainable)


def test_epochs_become_steps_over_all_processes(base: Path) -> None:
    recipe = planned(base, budget={"epochs": 2}).recipe
    assert planned(base, budget={"epochs": 2}).steps == 2 * 64 // 4
    assert plan(recipe, num_processes=2).steps == 2 * 64 // 8


def test_the_tokens_of_a_step_are_those_of_the_first_rows(base: Path) -> None:
    step = planned(base).step
    assert step.examples == 4
    assert 0 < step.target_tokens < step.tokens


def test_suites_carry_what_the_base_has_seen(base: Path) -> None:
    found = planned(base).to_json()["suites"]
    assert (found["id"]["exposure"], found["ood"]["exposure"]) == ("known to the base", "never seen")
    assert (found["ood"]["n"], found["ood"]["n_during"], found["ood"]["purpose"]) == (400, 50, "ood")


def test_a_suite_of_a_file_asks_no_more_rows_than_it_has(base: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    found = planned(base, suites={"mine": {"path": str(rows), "purpose": "ood"}})
    assert (found.suites["mine"].n, found.suites["mine"].exposure) == (3, "unknown")
    assert any("few problems: mine 3 (" in words for words in found.warnings)


def test_steps_that_are_asked_one_by_one_count_one_by_one(base: Path) -> None:
    routes = {"environment": "navigation", "rule": "absolute", "purpose": "ood", "split": "test", "size": 40}
    forced = {**routes, "decoding": {"teacher_forced": True}}
    found = planned(base, suites={"routes": routes, "steps": forced})
    assert (found.suites["routes"].asked, found.suites["steps"].n) == (40, 40)
    assert found.suites["steps"].asked > 200
    assert any("few problems: routes 40 (" in words and "steps" not in words for words in found.warnings)


def test_the_plan_is_json(base: Path) -> None:
    values = planned(base).to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert {"trainable", "steps", "flops_per_step", "flops_total", "budget", "warnings", "suites"} <= values.keys()


def test_matched_depth_is_told(base: Path) -> None:
    found = planned(base, trainable={"preset": "mlp", "match": {"parameters_of": "attention"}})
    assert found.to_json()["trainable"]["matched"]["depth"] == 2
    assert found.label == "mlp, match parameters_of attention"


def test_a_base_whose_rate_cannot_move_its_checkpoints_is_warned_about(base: Path) -> None:
    assert any("round back to the base" in words for words in planned(base, learning_rate=1e-6).warnings)
    assert not any("round back" in words for words in planned(base).warnings)
    assert not any("round back" in w for w in planned(base, learning_rate=1e-6, save_dtype="float32").warnings)


def test_a_plan_of_eleven_billion_parameters_needs_no_weights(tmp_path: Path, base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    config |= {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 12, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 32000, "head_dim": 128,
    }  # fmt: skip
    for file in base.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = planned(tmp_path, dtype="bfloat16", compute_dtype="bfloat16")
    assert 10e9 < found.selected.n_total < 12e9
    assert found.memory_of["full"] is not None
    assert found.memory_of["attention"] is not None
    assert found.memory_of["attention"] < found.memory_of["full"]


def test_a_row_that_the_model_has_no_positions_for_is_told_before_the_run(tmp_path: Path, base: Path) -> None:
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text()) | {"max_position_embeddings": 20}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="longer than max_length 20"):
        planned(tmp_path)


@pytest.mark.parametrize("architecture", ["mllama", "gemma3", "qwen3_moe", "mamba2"])
def test_models_of_other_families_can_be_planned(tmp_path: Path, base: Path, architecture: str) -> None:
    model = tiny_models.build(architecture, device="meta")
    model.config.architectures = [type(model).__name__]
    if architecture != "mamba2":
        model.config.get_text_config().max_position_embeddings = 256
    model.config.save_pretrained(tmp_path)
    for file in base.glob("*toke*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_bytes((base / "chat_template.jinja").read_bytes())
    found = planned(tmp_path, trainable="full", max_length=256)
    assert found.step.flops > 0
    assert set(found.memory_of) == {"full"} if architecture == "mamba2" else {"full", "attention", "mlp"}


def model_of(whole: int, learning: int) -> Shape:
    return Shape(whole, learning, largest_block=10**7, outside=10**8)


def test_the_memory_of_full_training_is_sixteen_bytes_a_weight_and_the_cast() -> None:
    full = estimate(model_of(10**9, 10**9), stored="bfloat16", computed="bfloat16", activations=0)
    assert full.weights + full.training == (MASTER + 2 + 12) * 10**9
    frozen = estimate(model_of(10**9, 0), stored="bfloat16", computed="bfloat16", activations=0)
    assert frozen.weights + frozen.training == 2 * 10**9


def test_pure_bfloat16_training_holds_two_bytes_of_a_weight_four_times() -> None:
    found = estimate(model_of(10**9, 10**8), stored="bfloat16", computed="bfloat16", activations=0, masters="stored")
    assert (found.weights, found.training) == (2 * 10**9, 3 * 2 * 10**8)


def test_sharded_training_holds_a_share_of_the_state_and_a_few_whole_blocks() -> None:
    one = estimate(model_of(10**10, 10**10), stored="bfloat16", computed="bfloat16", activations=10**9, devices=8)
    assert one.weights + one.training == 16 * 10**10 // 8
    assert one.gathered == (2 * 10**7 + 10**8) * 2 + 10**7 * 4
    assert one.measuring == 2 * 10**10  # a moment gathers the whole model, and keeps no activations
    assert one.total == round(1.15 * (20 * 10**9 + 20 * 10**9))


def test_more_devices_take_fewer_steps_for_an_epoch_and_less_memory_each(base: Path) -> None:
    recipe = planned(base, budget={"epochs": 2}).recipe
    one, four = plan(recipe), plan(recipe, num_processes=4)
    assert (one.steps, four.steps) == (32, 8)
    assert four.memory.weights < one.memory.weights
    assert four.hours(100.0) == pytest.approx(one.hours(100.0) / 4, rel=0.02)
    assert plan(recipe, num_processes=4, sharded=False).memory.weights == one.memory.weights


def test_labels_read_like_a_legend() -> None:
    assert label_of("full") == "full"
    assert label_of({"preset": "mlp", "layers": "first:8"}) == "mlp, layers first:8"
    assert label_of({"roles": ["attention", "norm"], "layers": [0, 3]}) == "attention + norm, layers 0 3"


def test_a_step_is_a_spent_of_every_way_to_match(base: Path) -> None:
    step = planned(base).step.to_json()
    assert step.pop("generated_tokens") == 0
    assert all(value > 0 for value in step.values())
    assert isinstance(planned(base).step, Spent)
    assert len(roles(skeleton(str(base)).model)) > 10
