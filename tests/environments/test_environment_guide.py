"""The example of docs/add-an-environment.md is a lawful environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.environments.base import SPLITS, Environment
from holdfast.errors import UserError
from holdfast.records import Outcome

GUIDE = Path(__file__).parents[2] / "docs" / "add-an-environment.md"


@pytest.fixture(scope="module")
def environment() -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    # Dataclasses look their module up by name; this one's names live in a plain dictionary.
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)
    return names["Multiples"]()


def test_the_example_keeps_the_contract(environment: Any) -> None:
    assert isinstance(environment, Environment)
    keys: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for rule in environment.rules:
            for index in range(200):
                problem = environment.sample(rule, split, index, seed=0)
                assert problem == environment.sample(rule, split, index, seed=0)
                assert environment.verify(problem, environment.demonstrate(problem)).outcome is Outcome.CORRECT
                keys[split].add(problem.key)
    assert not keys["train"] & keys["validation"]
    assert not keys["train"] & keys["test"]
    assert not keys["recall"] & keys["compose"]


def test_the_example_tells_a_memorized_rule_from_a_mistake(environment: Any) -> None:
    problem = environment.sample("thrice", "test", 0, seed=0)
    number = problem.facts["number"]
    assert environment.verify(problem, str(2 * number)).facts["right_under_training_rule"] is True
    assert environment.verify(problem, str(2 * number + 1)).facts["right_under_training_rule"] is False
    for hostile in ("", "9" * 10**6, "٣", "\ud800", "1e9"):
        assert environment.verify(problem, hostile).outcome is Outcome.UNPARSED


def test_the_example_refuses_what_it_does_not_know(environment: Any) -> None:
    with pytest.raises(UserError, match="twise"):
        environment.sample("twise", "test", 0, seed=0)
    with pytest.raises(UserError, match="tst"):
        environment.sample("twice", "tst", 0, seed=0)
