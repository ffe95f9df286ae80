"""Every recipe and study in the repository can be read and names only what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.plan import check
from holdfast.recipe import read
from holdfast.study import load

ROOT = Path(__file__).parents[2]
STUDIES = sorted(ROOT.glob("studies/**/*.yaml"))
RECIPES = sorted(path for path in ROOT.glob("recipes/**/*.yaml") if "pretrain" not in path.parts)
PRETRAINING = sorted(ROOT.glob("recipes/pretrain/*.yaml"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_recipe_has_no_faults(path: Path) -> None:
    check(read(path), source=named(path))


@pytest.mark.parametrize("path", STUDIES, ids=named)
def test_a_study_has_arms_without_faults(path: Path) -> None:
    assert load(path).arms


@pytest.mark.parametrize("path", PRETRAINING, ids=named)
def test_a_pretraining_recipe_can_be_read(path: Path) -> None:
    from holdfast.train.pretrain import read_recipe  # late: it imports torch

    assert read_recipe(path).steps > 0


def test_there_are_recipes_to_read() -> None:
    assert RECIPES
    assert STUDIES
    assert PRETRAINING
