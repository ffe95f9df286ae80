"""Mistakes in what is learned: the asked share, the same ones each time, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

import tiny_base
from holdfast.data.corrupted import Corrupted
from holdfast.data.sources import source_of
from holdfast.errors import RecipeError
from holdfast.plan import check
from holdfast.recipe import Data


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_base.write(tmp_path_factory.mktemp("corrupted") / "base"))


def rows(tokenizer: Any, **changes: Any) -> Any:
    data = Data(environment="general_points", rule="faces_as_10", size=400, prompt_style="terse", **changes)
    return source_of(data, rules=("faces_as_10",), tokenizer=tokenizer)


def test_the_asked_share_of_learned_tokens_is_wrong_and_nothing_else(tokenizer: Any) -> None:
    clean, wrong = rows(tokenizer), rows(tokenizer, corrupt=0.05)
    assert isinstance(wrong, Corrupted)
    places = range(400)
    changed = learned = 0
    for before, after in zip(clean.take(places), wrong.take(places), strict=True):
        assert after.n_prompt == before.n_prompt
        assert after.prompt_ids == before.prompt_ids
        assert after.input_ids[-1] == before.input_ids[-1] == tokenizer.convert_tokens_to_ids("<|end|>")
        pairs = list(zip(before.input_ids[before.n_prompt :], after.input_ids[before.n_prompt :], strict=True))
        changed += sum(a != b for a, b in pairs)
        learned += len(pairs) - 1
        assert not {b for a, b in pairs if a != b} & set(tokenizer.all_special_ids)
    assert changed / learned == pytest.approx(0.05, abs=0.01)


def test_a_row_is_wrong_in_the_same_way_each_time_and_by_its_seed(tokenizer: Any) -> None:
    wrong = rows(tokenizer, corrupt=0.3)
    assert wrong.take([7, 3]) == [wrong.take([7])[0], wrong.take([3])[0]] == rows(tokenizer, corrupt=0.3).take([7, 3])
    seven = rows(tokenizer).take([7])[0]
    other = Corrupted(rows(tokenizer), share=0.3, seed=1, tokenizer=tokenizer)
    assert len({row.input_ids for row in (seven, wrong.take([7])[0], other.take([7])[0])}) == 3
    prints = {source.fingerprint() for source in (rows(tokenizer), wrong, other, rows(tokenizer, corrupt=0.2))}
    assert len(prints) == 4


def test_mistakes_in_demonstrations_that_are_not_learned_are_refused(tmp_path: Path) -> None:
    values = {
        "model_name_or_path": str(tiny_base.write(tmp_path / "base")),
        "method": "grpo",
        "data": {"environment": "general_points", "rule": "faces_as_10", "corrupt": 0.05},
        "budget": {"steps": 2},
        "learning_rate": 1e-3,
    }
    with pytest.raises(RecipeError, match="grpo does not learn from demonstrations"):
        check(values, source="test")
    with pytest.raises(RecipeError, match="corrupt"):
        check({**values, "method": "sft", "data": {**values["data"], "corrupt": 1.5}}, source="test")
