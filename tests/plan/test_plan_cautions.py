"""Warnings before training, and what a base is said to have seen."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.plan import exposure_label
from holdfast.plan.cautions import cautions, half_width, rounded_back
from holdfast.recipe import Recipe

GOOD: dict[str, Any] = {
    "model_name_or_path": "a/b",
    "data": {"path": "train.jsonl"},
    "suites": {"id": {"path": "i.jsonl", "purpose": "id"}, "ood": {"path": "o.jsonl", "purpose": "ood"}},
    "budget": {"steps": 100},
    "learning_rate": 1e-3,
}


def warned(
    *,
    steps: int = 100,
    reference_steps: int = 100,
    mismatch: float | None = None,
    stored: str = "bfloat16",
    **changes: Any,
) -> list[str]:
    recipe = Recipe.model_validate({**GOOD, **changes})
    sizes = {name: suite.size for name, suite in recipe.suites.items()}
    found = cautions(
        recipe, sizes=sizes, steps=steps, reference_steps=reference_steps, stored=stored,
        save_dtype="bfloat16", weight_scale=0.02, mismatch=mismatch,
    )  # fmt: skip
    return list(found)


def test_a_sound_recipe_is_not_warned_about() -> None:
    assert warned() == []


@pytest.mark.parametrize(("rate", "measured"), [(5e-5, 0.43), (2e-5, 0.70), (1e-5, 0.85), (1e-6, 0.98), (1e-7, 0.999)])
def test_one_adam_step_leaves_unchanged_what_was_measured(rate: float, measured: float) -> None:
    """Measured on a million weights drawn from N(0, 0.02), stored in bfloat16 (the small-rate trap of the design)."""
    assert rounded_back(rate, 1, save_dtype="bfloat16", weight_scale=0.02) == pytest.approx(measured, abs=0.01)


def test_training_without_float32_masters_says_what_each_step_loses() -> None:
    words = warned(master_dtype="stored", learning_rate=1e-6)
    assert len(words) == 1  # a float32 checkpoint would hold no more than the bfloat16 weights
    assert "pure bfloat16" in words[0]
    assert "98." in words[0]
    assert "changes nothing" in warned(master_dtype="stored", stored="float32")[0]


def test_what_is_not_measured_is_warned_about() -> None:
    assert "no suites" in warned(suites={})[0]
    assert "no suite has purpose ood" in warned(suites={"id": {"path": "i.jsonl", "purpose": "id"}})[0]
    assert "very rows that are learned" in warned(data={"path": "i.jsonl"})[0]
    assert "stop can do nothing" in warned(evaluate_at="end", stop={"signal": "patience"})[0]


def test_a_named_suite_that_is_cut_short_and_greedy_samples_are_warned_about() -> None:
    suite = {"path": "math-500", "scorer": "math", "purpose": "ood"}
    assert "the first 400 of math-500; size: 500 asks all of it" in warned(suites={"m": suite})[0]
    assert warned(suites={"m": {**suite, "size": 500}}) == []
    several = {**suite, "size": 500, "decoding": {"samples": 4}}
    assert "draws 4 greedy answers" in warned(suites={"m": several})[0]


def test_a_suite_too_small_to_tell_arms_apart_is_warned_about() -> None:
    small = {**GOOD["suites"], "ood": {"path": "o.jsonl", "purpose": "ood", "size": 50}}
    assert "few problems: ood 50 (± 13 points);" in warned(suites=small)[0]


def test_a_suite_that_a_signal_reads_shows_half_of_its_problems() -> None:
    halved = {**GOOD["suites"], "ood": {"path": "o.jsonl", "purpose": "ood", "size": 300}}
    assert warned(suites=halved) == []
    read = warned(suites=halved, stop={"signal": "patience", "reads": "eval_ood_success"})[0]
    assert "ood 300, half of which a stopping signal reads (± 8 points);" in read


def test_a_schedule_that_stretches_over_unequal_arms_is_warned_about() -> None:
    assert "stretches over 150 steps" in warned(steps=150, lr_scheduler_type="cosine")[0]
    assert warned(steps=150) == []


def test_a_coarse_match_is_warned_about() -> None:
    assert "+25 %" in warned(mismatch=0.25)[0]
    assert warned(mismatch=-0.02) == []


def test_400_problems_reach_five_points() -> None:
    assert half_width(400) == pytest.approx(0.0488, abs=1e-4)


SEEN = {
    "environments": {
        "general_points": {
            "lowest": 1, "highest": 13, "targets": [24], "held_out_rules": ["faces_as_5_7_9", "faces_as_8"],
            "frequent_rules": {"faces_as_11_12_13": 0.1},
        }
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "label"),
    [
        ("faces_as_11_12_13", "known to the base"),
        ("faces_as_10", "known to the base"),
        ("faces_as_5_7_9", "never seen"),
        ("faces_as_8_8_8", "never seen"),
        ("faces_as_14", "never seen"),
        ("ace_as_11", "never seen"),
        ("red_negative", "never seen"),
        ("target_36", "never seen"),
        ("target_24", "known to the base"),
        ("faces_as_10+ace_as_11", "never seen"),
    ],
)
def test_a_rule_is_labelled_by_what_pretraining_drew(rule: str, label: str) -> None:
    assert exposure_label(SEEN, "general_points", rule) == label


def test_another_target_is_another_rule_and_another_environment_is_new() -> None:
    assert exposure_label(SEEN, "general_points", "faces_as_10", options={"target": 36}) == "never seen"
    assert exposure_label(SEEN, "general_points", "faces_as_10", options={"target": 24}) == "known to the base"
    assert exposure_label(SEEN, "navigation", "left") == "never seen"


def test_without_a_card_or_a_rule_nothing_is_claimed() -> None:
    assert exposure_label(None, "general_points", "faces_as_10") == "unknown"
    assert exposure_label(SEEN, None, None) == "unknown"
