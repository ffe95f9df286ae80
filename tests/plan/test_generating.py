"""Who answers: what auto becomes, what vllm is refused for, and that neither moves the hash of a recipe without it."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from holdfast.errors import RecipeError, UserError
from holdfast.plan import check, plan
from holdfast.plan.generating import Asked, generates_with
from holdfast.recipe import Recipe
from holdfast.rollout import vllm_extra

TASK = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse"}
SUITE = {**TASK, "purpose": "id", "size": 4, "decoding": {"max_new_tokens": 8}}
VALUES: dict[str, Any] = {
    "model_name_or_path": "pocket",
    "data": {**TASK, "size": 16},
    "suites": {"id": SUITE},
    "budget": {"steps": 2},
    "learning_rate": 1e-3,
}
FORCED = {**SUITE, "decoding": {"teacher_forced": True}}
PLAIN = Asked(LlamaConfig(), reads_pictures=False, compute_dtype="bfloat16", processes=1, anything=True)


def recipe(**changes: Any) -> Recipe:
    return check({**VALUES, **changes}, source="test")


@pytest.fixture
def vllm_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_extra, "missing", lambda: None)


@pytest.fixture
def gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_asking_for_vllm_where_it_is_missing_is_a_fault_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_extra, "missing", lambda: "needs vLLM: pip install 'holdfast[vllm]'")
    with pytest.raises(RecipeError) as told:
        recipe(generate_with="vllm")
    (fault,) = told.value.faults
    assert fault.where == "generate_with"
    assert "holdfast[vllm]" in fault.problem
    assert "transformers" in fault.fix


@pytest.mark.usefixtures("vllm_here", "gpu_here")
def test_auto_is_vllm_where_it_is_installed_and_the_device_is_a_gpu() -> None:
    assert generates_with(recipe(generate_with="auto"), PLAIN) == "vllm"
    assert generates_with(recipe(), PLAIN) == "transformers"


@pytest.mark.usefixtures("vllm_here")
def test_auto_is_transformers_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert generates_with(recipe(generate_with="auto"), PLAIN) == "transformers"
    assert generates_with(recipe(generate_with="vllm"), PLAIN) == "vllm"


@pytest.mark.usefixtures("gpu_here")
def test_auto_is_transformers_where_vllm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_extra, "missing", lambda: "needs vLLM")
    assert generates_with(recipe(generate_with="auto"), PLAIN) == "transformers"


class _Quantized(LlamaConfig):
    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "quantization_config": {"bits": 4}}


@pytest.mark.usefixtures("vllm_here", "gpu_here")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reads_pictures": True}, "pictures"),
        ({"processes": 2}, "2 processes"),
        ({"config": _Quantized()}, "quantized"),
        ({"compute_dtype": "float64"}, "float64"),
        ({"anything": False}, "nothing in this recipe is generated"),
    ],
)
def test_what_vllm_cannot_do_is_refused_if_asked_for_and_left_to_transformers_if_not(
    changes: dict[str, Any], words: str
) -> None:
    asked = PLAIN._replace(**changes)
    assert generates_with(recipe(generate_with="auto"), asked) == "transformers"
    with pytest.raises(UserError, match=f"generate_with: vllm, but .*{words}.* transformers"):
        generates_with(recipe(generate_with="vllm"), asked)


@pytest.mark.usefixtures("vllm_here")
def test_a_plan_refuses_vllm_where_suites_are_only_teacher_forced() -> None:
    with pytest.raises(UserError, match="nothing in this recipe is generated"):
        plan(recipe(generate_with="vllm", suites={"id": FORCED}))
    rft = {"name": "rft", "problems": 8}
    assert plan(recipe(generate_with="vllm", suites={"id": FORCED}, method=rft)).generates_with == "vllm"


@pytest.mark.usefixtures("vllm_here")
def test_a_plan_says_who_answers_and_warns_of_the_memory_of_vllm() -> None:
    usual, asked = plan(recipe(generate_with="transformers")), plan(recipe(generate_with="vllm"))
    assert usual.to_json()["generate_with"] == "transformers"
    assert asked.to_json()["generate_with"] == "vllm"
    (more,) = set(asked.warnings) - set(usual.warnings)
    assert "0.3 of a GPU's memory" in more


@pytest.mark.usefixtures("vllm_here")
def test_only_a_recipe_that_insists_on_vllm_has_another_hash() -> None:
    usual = recipe()
    assert "generate_with" not in usual.identity()
    assert "vllm_gpu_memory_utilization" not in usual.identity()
    assert usual.hash() == recipe(generate_with="auto").hash()
    assert usual.hash() == recipe(vllm_gpu_memory_utilization=0.5).hash()
    assert usual.hash() != recipe(generate_with="vllm").hash()


def test_the_hash_of_an_older_recipe_stays() -> None:
    # As it was before there was such a key.
    assert recipe().hash() == "de8f5a892a418443"
