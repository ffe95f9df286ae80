"""A study file becomes named arms over seeds, each checked and each with an address of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.errors import RecipeError
from holdfast.recipe import Recipe
from holdfast.study import Study, load
from holdfast.study.address import address

BASE: dict[str, Any] = {
    "model_name_or_path": "some/model",
    "data": {"environment": "general_points", "rule": "faces_as_10"},
    "budget": {"steps": 3},
    "learning_rate": 1e-3,
}


def study(folder: Path, **values: Any) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"base": BASE, **values}, sort_keys=False))
    return file


def test_every_point_of_every_axis_meets_every_other_over_all_seeds(tmp_path: Path) -> None:
    rate = {"large": {"learning_rate": 1e-3}, "small": {"learning_rate": 1e-4, "budget.steps": 9}}
    found = load(study(tmp_path, axes={"trainable": ["full", "mlp"], "rate": rate}, seeds=[0, 7]))
    assert [(arm.name, arm.seed) for arm in found.arms] == [
        ("full, large", 0), ("full, large", 7), ("full, small", 0), ("full, small", 7),
        ("mlp, large", 0), ("mlp, large", 7), ("mlp, small", 0), ("mlp, small", 7),
    ]  # fmt: skip
    small = found.arms[2]
    assert (small.recipe.trainable, small.recipe.learning_rate, small.recipe.budget.steps) == ("full", 1e-4, 9)
    assert small.labels == {"trainable": "full", "rate": "small"}
    assert found.arms[1].recipe.seed == 7
    assert len({arm.address for arm in found.arms}) == 8


def test_a_dotted_key_keeps_the_rest_of_its_block(tmp_path: Path) -> None:
    found = load(study(tmp_path, base={**BASE, "budget": {"steps": 3, "match": "6nd"}}, axes={"budget.steps": [4]}))
    assert found.arms[0].recipe.budget.match == "6nd"
    assert found.arms[0].recipe.budget.steps == 4


def test_a_base_may_be_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    assert load(study(tmp_path, base="base.yaml")).arms[0].name == "base"


def test_a_typo_in_an_arm_is_refused_with_the_arm_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"arm 'mpl'[\s\S]*Did you mean \"mlp\""):
        load(study(tmp_path, axes={"trainable": ["full", "mpl"]}))


def test_typos_in_the_study_file_itself_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"2 problems[\s\S]*Did you mean \"axes\"[\s\S]*Did you mean \"seeds\""):
        load(study(tmp_path, axis={"trainable": ["full"]}, seed=[3]))


def test_two_arms_that_are_one_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="one and the same recipe"):
        load(study(tmp_path, axes={"rate": {"a": {"learning_rate": 1e-3}, "b": {"learning_rate": 1.0e-3}}}))


def test_the_address_follows_the_rows_of_a_file_and_not_the_place_of_the_run(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    values = {**BASE, "data": {"path": str(rows)}}
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    before = address(Recipe.model_validate(values))
    assert address(Recipe.model_validate({**values, "output_dir": "x"})) == before
    rows.write_text('{"prompt": "a", "completion": "c"}\n')
    assert address(Recipe.model_validate(values)) != before


def test_the_address_follows_a_folder_of_rows_and_knows_a_suite_by_name_without_a_network(tmp_path: Path) -> None:
    def of(path: str) -> str:
        return address(Recipe.model_validate({**BASE, "suites": {"m": {"path": path, "purpose": "ood"}}}))

    (tmp_path / "test.jsonl").write_text('{"problem": "1?", "answer": "1"}\n')
    before = of(str(tmp_path))
    (tmp_path / "test.jsonl").write_text('{"problem": "1?", "answer": "2"}\n')
    assert of(str(tmp_path)) != before
    assert len({of(name) for name in ("math-500", "minerva-math", "worked-math")}) == 3


def test_flags_win_over_axes_and_reach_every_arm_and_suite(tmp_path: Path) -> None:
    suites = {name: {"environment": "general_points", "purpose": "id"} for name in ("one", "two")}
    file = study(tmp_path, base={**BASE, "suites": suites}, axes={"trainable": ["full", "mlp"]}, seeds=[0, 1])
    found = load(file, assignments=["learning_rate=0.5", "seeds=[4]", "suites.*.size=7"], quick=False)
    assert [(arm.seed, arm.recipe.learning_rate) for arm in found.arms[:1]] == [(4, 0.5)]
    assert [suite.size for suite in found.arms[0].recipe.suites.values()] == [7, 7]


def test_the_quick_version_leaves_out_the_arms_that_it_excludes(tmp_path: Path) -> None:
    quick = {"exclude": [{"trainable": "mlp"}]}
    file = study(
        tmp_path, axes={"trainable": ["full", "attention", "mlp"]}, exclude=[{"trainable": "full"}], quick=quick
    )
    assert [arm.name for arm in load(file).arms] == ["attention", "mlp"]
    assert [arm.name for arm in load(file, quick=True).arms] == ["attention"]
    with pytest.raises(RecipeError, match=r"fits no arm.*mpl"):
        load(study(tmp_path, axes={"trainable": ["full"]}, quick={"exclude": [{"trainable": "mpl"}]}), quick=True)
    with pytest.raises(RecipeError, match="exclude"):
        load(study(tmp_path, axes={"trainable": ["full"]}, quick={"exclude": 3}), quick=True)


def test_the_quick_version_changes_what_the_file_says_it_changes(tmp_path: Path) -> None:
    file = study(tmp_path, axes={"trainable": ["full", "mlp"]}, seeds=[0, 1], quick={"seeds": [3], "budget.steps": 2})
    assert {(arm.seed, arm.recipe.budget.steps) for arm in load(file, quick=True).arms} == {(3, 2)}
    assert {(arm.seed, arm.recipe.budget.steps) for arm in load(file).arms} == {(0, 3), (1, 3)}
    with pytest.raises(RecipeError, match="no small version"):
        load(study(tmp_path), quick=True)


def test_a_point_may_start_from_a_recipe_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**BASE, "learning_rate": 0.25}))
    tasks = {"one": {}, "two": {"recipe": "other.yaml", "budget.steps": 5}}
    found = load(study(tmp_path, axes={"task": tasks, "trainable": ["full", "mlp"]}))
    assert [(arm.recipe.learning_rate, arm.recipe.budget.steps, arm.recipe.trainable) for arm in found.arms] == [
        (1e-3, 3, "full"), (1e-3, 3, "mlp"), (0.25, 5, "full"), (0.25, 5, "mlp"),
    ]  # fmt: skip


def test_a_selection_matched_with_itself_is_one_run_under_every_matching(tmp_path: Path) -> None:
    found = load(study(tmp_path, axes={"trainable": ["full", "attention"], "budget.match": ["flops", "trainable"]}))
    addresses = [arm.address for arm in found.arms]
    assert addresses[0] == addresses[1]
    assert len(set(addresses)) == 3


def test_excluded_combinations_are_left_out_and_one_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    axes = {"trainable": ["full", "mlp"], "rate": {"large": {"learning_rate": 1e-3}, "small": {"learning_rate": 1e-4}}}
    found = load(study(tmp_path, axes=axes, exclude=[{"trainable": "mlp", "rate": "large"}]))
    assert [arm.name for arm in found.arms] == ["full, large", "full, small", "mlp, small"]
    with pytest.raises(RecipeError, match=r"fits no arm: \{rate: lagre\}"):
        load(study(tmp_path, axes=axes, exclude=[{"rate": "lagre"}]))


def a_chain(place: Path, **start: Any) -> Study:
    axes = {
        "arm": {
            "late": {"starts_from": {"arm": "sft", "step": 40, **start}, "learning_rate": 0.5},
            "sft": {"save_steps": 20, "budget": {"steps": 60}},
        }
    }
    return load(study(place, axes=axes, seeds=[0, 1]), runs=Path("elsewhere"))


def test_an_arm_goes_on_from_a_checkpoint_of_another_with_its_seed(tmp_path: Path) -> None:
    late, later, sft, other = a_chain(tmp_path).arms
    assert late.recipe.model_name_or_path == f"elsewhere/{sft.address}/checkpoint-40"
    assert later.recipe.model_name_or_path == f"elsewhere/{other.address}/checkpoint-40"
    assert late.start is not None
    assert (late.start.arm, late.start.step, late.base) == ("sft", 40, sft.recipe.model_name_or_path)
    assert len({arm.address for arm in (late, later, sft, other)}) == 4


def test_what_is_run_before_is_part_of_the_address(tmp_path: Path) -> None:
    assert a_chain(tmp_path).arms[0].address == a_chain(tmp_path).arms[0].address
    assert a_chain(tmp_path, step=20).arms[0].address != a_chain(tmp_path).arms[0].address


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"arm": "sfd"}, "no arm before it: 'sfd'"),
        ({"arm": "late"}, "no arm before it: 'late'"),
        ({"step": 30}, "keeps no checkpoint at step 30"),
        ({"step": 80}, "keeps no checkpoint at step 80"),
        ({"setp": 3}, "takes arm and step"),
    ],
)
def test_a_start_that_will_not_be_there_is_refused(start: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        a_chain(tmp_path, **start)
