"""Searching for a healer: what is chosen on one half, reported on the other, and held against interpolation."""

from __future__ import annotations

import json

import pytest
import torch

import tiny_base
from holdfast.errors import UnknownName, UserError
from holdfast.evaluate.suite import REPORT, SELECT
from holdfast.heal.candidates import GRID, candidates, in_words
from holdfast.heal.search import search, success, told
from holdfast.models.load import load
from holdfast.models.pairs import ModelPair
from holdfast.plan import check
from holdfast.report import heal_page
from holdfast.spectral.cache import FactorCache

POINTS = {"environment": "general_points", "prompt_style": "terse", "answer_format": "formula"}
DECODING = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    base = tiny_base.write(tmp_path_factory.mktemp("models") / "base")
    loaded = load(str(base))
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            parameter.add_(0.1 * parameter.std() * noise)
    tuned = base.parent / "tuned"
    loaded.model.save_pretrained(tuned)
    loaded.tokenizer.save_pretrained(tuned)
    suites = {
        "id": {**POINTS, "rule": "faces_as_10", "purpose": "id", "size": 24, "decoding": DECODING},
        "ood": {**POINTS, "rule": "faces_as_11_12_13", "purpose": "ood", "size": 24, "decoding": DECODING},
    }
    recipe = check(
        {
            "model_name_or_path": str(tuned), "data": {**POINTS, "rule": "faces_as_10"}, "suites": suites,
            "budget": {"steps": 1}, "learning_rate": 1e-3,
        },
        source="test",
    )  # fmt: skip
    tries = [{"name": "interpolate", "strength": 0.5}, {"name": "union", "k": 0.5}]
    heard = []
    pair = ModelPair(str(base), str(tuned))
    return search(pair, recipe, tries, id_budget=1.0, cache=FactorCache(None), said=heard.append), heard, pair, recipe


def test_every_candidate_answers_both_halves_and_is_heard_of(found):
    search_, heard, _, _ = found
    assert [one.candidate["name"] for one in search_.tried] == ["interpolate", "union"]
    for one in search_.tried:
        halves = {sample.half for sample in one.results["id"].samples}
        assert halves == {SELECT, REPORT}
    assert any("union k 0.5" in line for line in heard)


def test_the_choice_is_the_best_on_the_select_half_and_beside_it_stands_interpolation(found):
    search_, *_ = found
    best = max(success(search_.suites, one.results, "ood", SELECT) for one in search_.tried)
    assert success(search_.suites, search_.chosen.results, "ood", SELECT) == best
    if search_.chosen.candidate["name"] != "interpolate":
        assert search_.same_undone.told.undone == pytest.approx(search_.chosen.told.undone)


def test_the_report_holds_no_problem_of_the_select_half(found, tmp_path):
    search_, *_ = found
    report = told(search_, base="base", tuned="tuned")
    assert all(sample.half == REPORT for one in report.tried for samples in one.answers.values() for sample in samples)
    page = heal_page.write(report, tmp_path / "heal.html", title="Healing")
    assert "union k 0.5" in page.read_text()
    json.dumps(heal_page.to_json(report), allow_nan=False)


def test_nothing_is_chosen_where_everything_costs_too_much(found):
    _, _, pair, recipe = found
    nothing = search(
        pair, recipe, [{"name": "union"}], id_budget=-1.0, cache=FactorCache(None), said=lambda _: None
    )  # fmt: skip
    assert nothing.chosen is None
    assert "every candidate costs more" in str(heal_page.beside(told(nothing, base="b", tuned="t")).rows)


def test_a_search_needs_suites_of_both_purposes(found):
    _, _, pair, recipe = found
    lone = recipe.model_copy(update={"suites": {"id": recipe.suites["id"]}})
    with pytest.raises(UserError, match="none with 'ood'"):
        search(pair, lone, [{"name": "union"}], id_budget=0.0, cache=FactorCache(None), said=lambda _: None)


def test_interpolation_is_always_tried_and_unknown_healers_are_refused():
    assert {one["name"] for one in candidates(["core"])} == {"interpolate", "core"}
    assert {one["name"] for one in candidates()} == set(GRID)
    with pytest.raises(UnknownName, match='Did you mean "union"'):
        candidates(["unoin"])
    assert (
        in_words({"name": "layer_reset", "share": 0.25, "position": "first"})
        == "layer_reset share 0.25, position first"
    )
