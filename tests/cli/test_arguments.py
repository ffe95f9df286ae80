"""Words of a command line: places, flags that are recipe keys, and switches."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli.arguments import evaluation_values, recipe_values, split
from holdfast.errors import UserError


@pytest.mark.parametrize(
    "words",
    [
        ["r.yaml", "--learning_rate", "3e-4"],
        ["r.yaml", "--learning-rate=3e-4"],
        ["--learning-rate", "3e-4", "r.yaml"],
        ["learning_rate=3e-4", "r.yaml"],
    ],
)
def test_a_key_may_be_written_in_every_usual_way(words: list[str]) -> None:
    assert split(words) == (("r.yaml",), ("learning_rate=3e-4",))


def test_a_switch_needs_no_value_and_takes_one() -> None:
    assert split(["--gradient_checkpointing", "r.yaml"]) == (("r.yaml",), ("gradient_checkpointing=true",))
    assert split(["--gradient_checkpointing", "false", "r.yaml"]) == (("r.yaml",), ("gradient_checkpointing=false",))


def test_a_negative_value_is_a_value() -> None:
    assert split(["--seed", "-1"]).assignments == ("seed=-1",)


def test_a_flag_without_a_value_is_refused() -> None:
    with pytest.raises(UserError, match="--seed needs a value"):
        split(["r.yaml", "--seed"])
    with pytest.raises(UserError, match="--seed needs a value"):
        split(["--seed", "--learning_rate", "1"])


def test_a_misspelled_flag_that_is_no_recipe_key_is_named() -> None:
    with pytest.raises(UserError, match=r"no such flag: --dry_rn\. Did you mean --dry_run\?"):
        split(["r.yaml", "--dry-rn"])
    assert split(["r.yaml", "--learning_rat", "3"]).assignments == ("learning_rat=3",)


def test_a_flag_of_another_command_names_the_recipe_key_that_is_meant() -> None:
    with pytest.raises(UserError, match=r"no such flag here: --output\. Did you mean --output_dir\?"):
        split(["r.yaml", "--output", "runs/x"])
    with pytest.raises(UserError, match=r"no such flag here: --compare\.$"):
        split(["r.yaml", "--compare", "x"])


def test_one_recipe_is_needed_wherever_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("seed: 1\nbudget: {steps: 3}\n")
    assert recipe_values([str(file), "--seed", "2"], config=None, verb="train").values["seed"] == 2
    assert recipe_values(["budget.steps=9"], config=str(file), verb="train").values["budget"] == {"steps": 9}
    with pytest.raises(UserError, match="needs one recipe, found none"):
        recipe_values([], config=None, verb="train")
    with pytest.raises(UserError, match="needs one recipe, found 2"):
        recipe_values([str(file), "other.yaml"], config=None, verb="train")


def test_an_evaluation_names_a_model_a_recipe_or_a_run_that_is_both(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("model_name_or_path: a/b\nseed: 1\n")
    (tmp_path / "checkpoint-3").mkdir()
    place = str(tmp_path / "checkpoint-3")
    for words, recipe in [([place, str(file)], None), ([place], str(file)), ([place], None)]:
        asked = evaluation_values(words, recipe=recipe)
        assert asked.values["model_name_or_path"] == place
        assert asked.source == str(file)
    assert evaluation_values([str(file)], recipe=None).values["model_name_or_path"] == "a/b"
    with pytest.raises(UserError, match="needs one recipe"):
        evaluation_values(["a/b"], recipe=None)
