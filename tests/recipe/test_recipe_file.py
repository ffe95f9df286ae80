"""A recipe's file: the safe loader and the flags that win over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import RecipeError
from holdfast.recipe import override, parse_yaml, read


def test_an_exponent_without_a_dot_is_a_number() -> None:
    assert parse_yaml("a: 1e-5\nb: 3E4\nc: -2e+3", source="x") == {"a": 1e-5, "b": 3e4, "c": -2e3}


def test_a_date_stays_a_word() -> None:
    assert parse_yaml("run_name: 2026-01-31", source="x") == {"run_name": "2026-01-31"}


def test_a_key_written_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="'seed' is written twice"):
        parse_yaml("seed: 1\nlearning_rate: 1\nseed: 2", source="x")


def test_python_objects_in_yaml_are_refused() -> None:
    with pytest.raises(RecipeError, match="not YAML"):
        parse_yaml("a: !!python/object/apply:os.system ['true']", source="x")


def test_a_list_is_no_recipe() -> None:
    with pytest.raises(RecipeError, match="a recipe is a mapping of keys to values, this is list"):
        parse_yaml("- 1", source="x")


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        read("no/such/recipe.yaml")
    (tmp_path / "recipe.yaml").write_bytes(b"run_name: caf\xe9")
    with pytest.raises(RecipeError, match=r'Did you mean ".*/recipe.yaml"'):
        read(tmp_path / "recpie.yaml")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        read(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_flags_win_and_reach_into_blocks_without_touching_the_values_they_change() -> None:
    values = {"budget": {"steps": 10}, "seed": 0}
    changed = override(values, ["budget.steps=20", "learning-rate=1e-4", "suites.ood.size=5"], source="x")
    assert changed == {"budget": {"steps": 20}, "seed": 0, "learning_rate": 1e-4, "suites": {"ood": {"size": 5}}}
    assert values == {"budget": {"steps": 10}, "seed": 0}


def test_a_flag_that_reaches_into_a_value_is_refused() -> None:
    with pytest.raises(RecipeError, match="budget is a value, not a block"):
        override({"budget": 3}, ["budget.steps=20"], source="x")
