"""What ``data.replay`` may not be, what a plan warns of, and that no problem of a suite is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.data.replayed import replayed_data
from holdfast.data.sources import environment_of
from holdfast.errors import RecipeError
from holdfast.evaluate.suite import make_all, rules_in_play
from holdfast.plan import check
from holdfast.plan.cautions import cautions
from holdfast.recipe import Recipe

CARDS = {"environment": "general_points", "rule": "faces_as_10"}
OTHER = {"environment": "general_points", "rule": "faces_as_5_7_9"}
REPLAY: dict[str, Any] = {"share": 0.05, **OTHER}
GOOD: dict[str, Any] = {
    "model_name_or_path": "some/model",
    "data": {**CARDS, "replay": REPLAY},
    "suites": {"id": {**CARDS, "purpose": "id"}, "kept": {**OTHER, "purpose": "retention"}},
    "budget": {"steps": 3},
    "learning_rate": 1e-3,
}


def with_replay(replay: Any, **changes: Any) -> dict[str, Any]:
    return {**GOOD, "data": {**CARDS, "replay": replay}, **changes}


def faults_of(values: dict[str, Any]) -> dict[str, str]:
    try:
        check(values, source="test")
    except RecipeError as error:
        return {fault.where: f"{fault.problem}. {fault.fix}" for fault in error.faults}
    return {}


def warnings_of(recipe: Recipe) -> str:
    figures = {"steps": 3, "reference_steps": 3, "stored": "float32", "save_dtype": "float32"}
    return "\n".join(cautions(recipe, sizes={}, weight_scale=0.02, mismatch=None, **figures))  # type: ignore[arg-type]


def test_a_good_replay_is_returned_with_its_options() -> None:
    recipe = check(with_replay({**REPLAY, "prompt_style": "terse"}), source="test")
    assert recipe.data.replay is not None
    assert recipe.data.replay.options == {"prompt_style": "terse"}


@pytest.mark.parametrize(
    ("replay", "where", "words"),
    [
        ({**REPLAY, "shar": 0.1}, "data.replay.shar", 'Did you mean "share"?'),
        ({**REPLAY, "prompt_stile": "terse"}, "data.replay.prompt_stile", 'Did you mean "prompt_style"?'),
        ({**REPLAY, "answers": "bas"}, "data.replay.answers", 'Did you mean "base"?'),
        ({**REPLAY, "rule": "faces_as_579"}, "data.replay.rule", 'Did you mean "faces_as_5_7_9"?'),
        ({**REPLAY, "split": "tran"}, "data.replay.split", 'Did you mean "train"?'),
        ({**REPLAY, "share": 1}, "data.replay.share", "less than 1"),
        ({**REPLAY, "share": 0}, "data.replay.share", "greater than 0"),
        ({"share": 0.1}, "data.replay", "names neither an environment nor a path"),
        (OTHER, "data.replay.share", "is missing"),
        ({"share": 0.1, "environment": "navigation"}, "data.replay.rule", "is missing"),
        ({"share": 0.1, "path": "nope.jsonl"}, "data.replay.path", "no such file"),
        ({"share": 0.1, "path": __file__, "sise": 3}, "data.replay.sise", 'Did you mean "size"?'),
        ({**REPLAY, "temperature": 1.0}, "data.replay", "temperature do nothing with answers: given"),
        ("chat.jsonl", "data.replay", "a block of keys is needed"),
        ({**REPLAY, "split": "test"}, "data.replay.split", "problems that suite kept asks"),
        ({**REPLAY, "split": "recall"}, "data.replay.split", "Leave split out"),
    ],
)
def test_a_faulty_replay_is_refused_in_words(replay: Any, where: str, words: str) -> None:
    suites = {"kept": {**OTHER, "purpose": "retention"}}
    found = faults_of(with_replay(replay, suites=suites))
    assert words in found.get(where, f"nothing at {where}: {found}")


@pytest.mark.parametrize(("method", "why"), [("dpo", "compares pairs"), ("grpo", "plays"), ("ppo", "plays")])
def test_methods_without_rows_of_their_own_are_refused(method: str, why: str) -> None:
    assert why in faults_of({**GOOD, "method": method})["data.replay"]
    assert "data.replay" not in faults_of({**GOOD, "method": "rft"})


def test_a_suite_takes_no_replay() -> None:
    suites = {"id": {**CARDS, "purpose": "id", "replay": REPLAY}}
    assert "no such key" in faults_of({**GOOD, "suites": suites})["suites.id.replay"]


def test_a_recipe_without_replay_is_named_as_before_there_was_any() -> None:
    plain = check({**GOOD, "data": CARDS}, source="test")
    assert plain.hash() == check(with_replay(None), source="test").hash()
    assert "replay" not in plain.identity()["data"]
    assert plain.hash() != check(GOOD, source="test").hash()


def test_a_resolved_recipe_with_replay_reads_back_as_itself() -> None:
    recipe = check(GOOD, source="test")
    again = check(recipe.resolved(), source="test")
    assert again == recipe
    assert again.hash() == recipe.hash()


def test_a_replay_leaves_to_the_data_what_it_does_not_say() -> None:
    data = {**CARDS, "prompt_style": "terse", "target": 36, "replay": {"share": 0.1, **OTHER, "target": 24}}
    recipe = check({**GOOD, "data": data}, source="test")
    found = replayed_data(recipe.data)
    assert found.options == {"prompt_style": "terse", "target": 24}
    assert (found.rule, found.size, found.replay) == ("faces_as_5_7_9", 2_048, None)


def test_no_replayed_problem_is_asked_by_a_suite_of_its_rule_or_another() -> None:
    recipe = check(GOOD, source="test")
    rules = rules_in_play(recipe, "general_points")
    assert rules == ("faces_as_10", "faces_as_5_7_9")
    for suites in (GOOD["suites"], {"id": GOOD["suites"]["id"]}):  # the second names the replayed rule nowhere else
        own = check({**GOOD, "suites": suites}, source="test")
        found = replayed_data(own.data)
        environment = environment_of("general_points", rules=rules_in_play(own), options=found.options)
        keys = {environment.sample(str(found.rule), found.split, i, seed=0).key for i in range(1_000)}
        assert len(keys) > 100
        for suite in make_all(own):
            assert "faces_as_5_7_9" in suite.environment.rules
            assert keys.isdisjoint(problem.key for problem in suite.problems())


def test_a_plan_warns_where_replay_and_suites_contradict_each_other(tmp_path: Path) -> None:
    ood = check({**GOOD, "suites": {"ood": {**OTHER, "purpose": "ood"}}}, source="test")
    assert "write purpose: retention" in warnings_of(ood)
    assert "replayed" not in warnings_of(check(GOOD, source="test"))
    same = with_replay({"share": 0.1, **CARDS})
    assert "the very rows that are learned" in warnings_of(check(same, source="test"))
    distilled = with_replay({"share": 0.1, **CARDS, "answers": "base"})
    assert "the very rows" not in warnings_of(check(distilled, source="test"))
    file = tmp_path / "chat.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n')
    suites = {"chat": {"path": str(file), "purpose": "retention"}}
    memory = check(with_replay({"share": 0.1, "path": str(file)}, suites=suites), source="test")
    assert "asks the very rows that are replayed" in warnings_of(memory)
