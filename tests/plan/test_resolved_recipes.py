"""A resolved recipe, with every default written out, is a recipe: what a study writes for each of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.plan import check
from holdfast.recipe import read

ROOT = Path(__file__).parents[2]
RECIPES = sorted(file for file in (ROOT / "recipes").rglob("*.yaml") if "method:" in file.read_text())


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_resolved_recipe_is_the_same_recipe(file: Path) -> None:
    recipe = check(read(file), source=str(file))
    again = check(recipe.resolved(), source="resolved")
    assert again == recipe
    assert again.hash() == recipe.hash()
