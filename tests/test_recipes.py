"""Every recipe and study of the repository is one that `check` accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.plan import check
from holdfast.recipe import read
from holdfast.study import grid

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name != "pretrain")
STUDIES = sorted((ROOT / "studies").rglob("*.yaml"))
PRETRAINING = sorted((ROOT / "recipes" / "pretrain").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_accepted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # paths in recipes are relative to where a user stands
    assert check(read(path), source=str(path)).budget is not None


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_study_is_accepted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = grid.load(path)
    assert len(study.arms) >= 2
    if "quick" in study.values:
        assert len(grid.load(path, quick=True).arms) >= 2


@pytest.mark.parametrize("path", PRETRAINING, ids=lambda path: path.stem)
def test_pretraining_recipe_is_accepted(path: Path) -> None:
    from holdfast.train.pretrain import read_recipe  # late: it imports torch

    assert read_recipe(path).steps > 0


@pytest.mark.parametrize("arm", ["full", "attention", "mlp", "full_small_rate"])
def test_the_quickstart_runs_the_recipes_that_lie_beside_it(arm: str) -> None:
    study = grid.load(ROOT / "studies" / "quickstart.yaml")
    alone = check(read(ROOT / "recipes" / "quickstart" / f"{arm}.yaml"), source=arm)
    assert alone.hash() in {each.recipe.hash() for each in study.arms}
