"""Every fault of a schema at once, each key named once, with the nearest key."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.recipe import Recipe, keys_at, schema_faults, suggest

GOOD: dict[str, Any] = {
    "model_name_or_path": "a/b",
    "data": {"path": "x.jsonl"},
    "suites": {"id": {"path": "x.jsonl", "purpose": "id"}},
    "budget": {"steps": 3},
    "learning_rate": 1e-3,
}


def faults_of(**changes: Any) -> dict[str, str]:
    recipe, faults = schema_faults({**GOOD, **changes})
    assert (recipe is None) == bool(faults)
    return {fault.where: f"{fault.problem}. {fault.fix}" for fault in faults}


def test_a_good_recipe_has_no_faults() -> None:
    assert faults_of() == {}


def test_a_misspelled_key_is_named_once_and_not_missed_as_well() -> None:
    values = {key: value for key, value in GOOD.items() if key not in ("learning_rate", "model_name_or_path")}
    _, faults = schema_faults({**values, "learning_rat": 1e-3, "model_name_or_pth": "a/b"})
    assert {fault.where: fault.fix for fault in faults} == {
        "learning_rat": 'Did you mean "learning_rate"?',
        "model_name_or_pth": 'Did you mean "model_name_or_path"?',
    }


def test_a_misspelled_key_does_not_hide_another_that_is_missing() -> None:
    values = {key: value for key, value in GOOD.items() if key not in ("learning_rate", "budget")}
    _, faults = schema_faults({**values, "learning_rat": 1e-3})
    assert {fault.where for fault in faults} == {"learning_rat", "budget"}


def test_a_key_of_another_trainer_is_told_what_to_write_instead() -> None:
    assert faults_of(max_steps=10)["max_steps"] == "is not a key of ours. write budget: {steps: N}."


TRAPS = {
    "packing": "rows are padded",
    "padding_free": "rows are padded",
    "sequence_parallel_size": "a row is never cut",
    "context_parallel_size": "a row is never cut",
    "neftune_noise_alpha": "no noise",
    "use_liger_kernel": "exact gradients without it",
    "label_smoothing_factor": "objective: {name: label_smoothing",
    "loss_scale": "an objective that weighs tokens",
    "use_eaft_loss": "objective: entropy",
    "use_asft_loss": "objective: anchored",
    "average_tokens_across_devices": "one mean over the tokens of all devices",
    "metric_for_best_model": "stop: {signal: patience, reads",
    "greater_is_better": "mode: max",
}


@pytest.mark.parametrize("key", TRAPS)
def test_what_other_trainers_drop_in_silence_beside_a_weighted_loss_is_refused_here(key: str) -> None:
    said = faults_of(objective="dft", **{key: 1})
    assert list(said) == [key]
    assert said[key].startswith("is not a key of ours. ")
    assert TRAPS[key] in said[key]


def test_faults_in_blocks_name_the_whole_path() -> None:
    found = faults_of(
        budget={"stepps": 3},
        suites={"id": {"path": "x", "purpose": "id", "decoding": {"temprature": 1}}, "Bad": {"purpose": "ood"}},
    )
    assert found["budget.stepps"].endswith('Did you mean "steps"? Known: epochs, match, reference, steps.')
    assert 'Did you mean "temperature"?' in found["suites.id.decoding.temprature"]
    assert found["suites.Bad"].startswith("is no name for a suite")


@pytest.mark.parametrize("value", ["sometimes", {"evry": 3}, [-1], 3.5])
def test_a_schedule_that_is_not_understood_is_one_fault(value: Any) -> None:
    assert len(faults_of(evaluate_at=value)) == 1


def test_steps_and_epochs_together_are_refused_in_our_words() -> None:
    assert faults_of(budget={"steps": 1, "epochs": 2}) == {"budget": "give either steps or epochs. "}


def test_values_of_the_wrong_kind_are_shown() -> None:
    found = faults_of(learning_rate="fast", trainable=4, stop=3)
    assert found["learning_rate"].startswith("'fast': input should be a valid number")
    assert found["trainable"].startswith("4 is neither a name nor a block")
    assert found["stop"].startswith("3 is a value; a block of keys is needed")


def test_a_long_list_of_choices_is_left_out_where_a_near_name_is_found() -> None:
    many = [f"name_{number}" for number in range(20)]
    assert suggest("nam_3", many) == 'Did you mean "name_3"?'
    assert suggest("nothing like it", many).startswith("Known: name_0")
    assert suggest("attenion", ["attention", "mlp"]) == 'Did you mean "attention"? Known: attention, mlp.'


def test_the_keys_of_a_suite_that_is_called_data_are_those_of_a_suite() -> None:
    assert "purpose" in keys_at(("suites", "data"))
    assert "purpose" not in keys_at(("data",))


def test_where_a_run_is_written_is_no_part_of_its_identity_and_its_seed_is() -> None:
    recipe = Recipe.model_validate(GOOD)
    assert recipe.hash() == Recipe.model_validate({**GOOD, "output_dir": "elsewhere", "run_name": "n"}).hash()
    assert recipe.hash() != Recipe.model_validate({**GOOD, "seed": 1}).hash()


def test_a_recipe_without_adapters_has_the_identity_it_had_before_there_were_any() -> None:
    plain = Recipe.model_validate(GOOD)
    assert "lora" not in plain.identity()
    assert plain.hash() == Recipe.model_validate({**GOOD, "lora": None}).hash()
    assert plain.hash() != Recipe.model_validate({**GOOD, "lora": {}}).hash()
    assert Recipe.model_validate({**GOOD, "lora": {}}).lora == Recipe.model_validate({**GOOD, "lora": {"r": 8}}).lora


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("use_peft", "lora: {r: 8, alpha: 16}"),
        ("lora_r", "lora: {r: N}"),
        ("lora_rank", "lora: {r: N}"),
        ("lora_alpha", "lora: {alpha: X}"),
        ("lora_dropout", "lora: {dropout: X}"),
        ("lora_target_modules", "trainable: full"),
        ("lora_target", "trainable: full"),
    ],
)
def test_keys_of_other_trainers_for_adapters_say_what_to_write(key: str, words: str) -> None:
    assert words in faults_of(**{key: 1})[key]


def test_faults_inside_of_lora_name_the_key() -> None:
    assert "Known: alpha, dropout, r." in faults_of(lora={"rank": 8})["lora.rank"]
    assert set(faults_of(lora={"r": 0, "dropout": 1.0})) == {"lora.r", "lora.dropout"}
    assert "block of keys" in faults_of(lora=8)["lora"]
