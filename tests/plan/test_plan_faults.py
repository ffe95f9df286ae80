"""A recipe is judged whole and at once, before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import RecipeError
from holdfast.plan import check

CARDS = {"environment": "general_points", "rule": "faces_as_10"}
GOOD: dict[str, Any] = {
    "model_name_or_path": "some/model",
    "data": CARDS,
    "suites": {
        "id": {**CARDS, "purpose": "id"},
        "ood": {"environment": "general_points", "rule": "faces_as_5_7_9", "purpose": "ood"},
    },
    "budget": {"steps": 3},
    "learning_rate": 1e-3,
}


def faults_of(**changes: Any) -> dict[str, str]:
    try:
        check({**GOOD, **changes}, source="test")
    except RecipeError as error:
        return {fault.where: f"{fault.problem}. {fault.fix}" for fault in error.faults}
    return {}


def test_a_good_recipe_is_returned() -> None:
    assert check(GOOD, source="test").suites["ood"].rule == "faces_as_5_7_9"


def test_faults_of_schema_and_members_come_together() -> None:
    found = faults_of(
        learnin_rate=3,
        model_name_or_path="nope",
        objective="dtf",
        trainable="atention",
        data={**CARDS, "rule": "faces_as10", "answer_fromat": "json"},
        stop={"signal": "patiense"},
    )
    assert 'Did you mean "learning_rate"?' in found["learnin_rate"]
    assert "no model 'nope'" in found["model_name_or_path"]
    assert 'Did you mean "dft"?' in found["objective"]
    assert 'Did you mean "attention"?' in found["trainable"]
    assert 'Did you mean "faces_as_10"?' in found["data.rule"]
    assert 'Did you mean "answer_format"?' in found["data.answer_fromat"]
    assert 'Did you mean "patience"?' in found["stop"]


def test_an_unknown_rule_in_one_suite_does_not_blame_the_others() -> None:
    suites = {**GOOD["suites"], "far": {"environment": "general_points", "rule": "faces_as_x", "purpose": "ood"}}
    assert set(faults_of(suites=suites)) == {"suites.far.rule"}


def test_a_suite_inherits_the_options_of_the_data_and_is_not_blamed_for_them() -> None:
    assert set(faults_of(data={**CARDS, "prompt_stile": "terse"})) == {"data.prompt_stile"}
    assert set(faults_of(data={**CARDS, "prompt_style": "tersse"})) == {"data.prompt_style"}


def test_an_ood_suite_under_the_training_rule_is_refused_unless_it_differs_elsewhere() -> None:
    same = {"ood": {**CARDS, "purpose": "ood"}}
    assert "also the training rule" in faults_of(suites=same)["suites.ood.rule"]
    assert faults_of(suites={"ood": {**CARDS, "purpose": "ood", "prompt_style": "terse"}}) == {}
    assert faults_of(suites={"id": {**CARDS, "purpose": "id"}}) == {}
    assert set(faults_of(suites={"ood": {"environment": "general_points", "purpose": "ood"}})) == {"suites.ood.rule"}


def test_a_suite_without_a_rule_asks_under_the_training_rule() -> None:
    assert faults_of(suites={"id": {"environment": "general_points", "purpose": "id"}}) == {}


def test_an_unknown_scorer_and_split_are_named() -> None:
    found = faults_of(suites={"id": {**CARDS, "purpose": "id", "scorer": "exat", "split": "tset"}})
    assert 'Did you mean "exact"?' in found["suites.id.scorer"]
    assert 'Did you mean "test"?' in found["suites.id.split"]


def test_a_signal_that_reads_a_suite_that_is_not_there_is_refused() -> None:
    found = faults_of(stop={"signal": "patience", "reads": "eval_odd_success"})
    assert 'Did you mean "eval_ood_success"?' in found["stop.reads"]
    assert faults_of(stop={"signal": "patience", "reads": "eval_ood_success"}) == {}


def test_a_signal_may_read_what_every_run_records_and_nothing_that_none_does() -> None:
    assert faults_of(stop={"signal": "reached", "reads": "update_norm_trained", "at": 0.01}) == {}
    found = faults_of(stop={"signal": "reached", "reads": "update_nrm"})
    assert 'Did you mean "update_norm"?' in found["stop.reads"]
    assert "finite" in faults_of(stop={"signal": "reached", "at": float("inf")})["stop"]


def test_a_stop_block_without_a_signal_names_the_misspelled_key() -> None:
    assert faults_of(stop={"singal": "patience"})["stop.signal"].startswith("is missing (there is 'singal')")


def test_files_that_are_not_there_are_named_with_their_neighbors(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    suites = {"id": {"path": str(tmp_path / "tarin.jsonl"), "purpose": "id"}}
    found = faults_of(data={"path": str(tmp_path / "trian.jsonl")}, suites=suites)
    assert 'Did you mean "train.jsonl"?' in found["data.path"]
    assert 'Did you mean "train.jsonl"?' in found["suites.id.path"]
    assert "is no file" in faults_of(data={"path": str(tmp_path)})["data.path"]


def test_a_block_with_neither_or_both_sources_is_refused() -> None:
    assert "neither" in faults_of(data={"size": 3})["data"]
    assert "both" in faults_of(data={**CARDS, "path": "x.jsonl"})["data"]


def test_outside_code_needs_permission() -> None:
    assert "--allow-code" in faults_of(objective="some.module:Thing")["objective"]


@pytest.mark.parametrize("hostile", [None, 3, [], "x", {"id": None}, {"id": {"environment": []}}, {1: {"rule": 2}}])
@pytest.mark.parametrize("key", ["data", "suites", "budget", "stop", "trainable", "objective", "model_name_or_path"])
def test_values_of_any_kind_end_in_faults_and_never_in_a_crash(key: str, hostile: Any) -> None:
    faults_of(**{key: hostile})


def test_checking_imports_no_torch() -> None:
    code = "import sys, holdfast.plan, holdfast.plan.faults; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
