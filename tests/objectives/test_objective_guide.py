"""The example of docs/add-an-objective.md is a lawful objective."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from objective_kit import engine_gradients, largest_difference, naive_gradients, ragged

import tiny_models
from holdfast.members import build
from holdfast.objectives.base import TokenStats
from holdfast.objectives.nll import NLL

GUIDE = Path(__file__).parents[2] / "docs" / "add-an-objective.md"


@pytest.fixture(scope="module")
def undecided():
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    module = ModuleType("objective_guide")
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    yield module.Undecided
    del sys.modules[module.__name__]


def test_the_limit_of_the_example_is_nll_bit_for_bit(undecided):
    model, batch = tiny_models.build("llama"), ragged()
    (loss, found), (expected_loss, expected) = (
        engine_gradients(model, member, [batch], chunk_rows=7) for member in (undecided(0.0), NLL())
    )
    assert loss == expected_loss
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_example_has_the_gradient_of_its_formula(undecided):
    model, batch = tiny_models.build("llama").double(), ragged()
    loss, found = engine_gradients(model, undecided(2.0), [batch])
    expected_loss, expected = naive_gradients(model, batch, lambda logp: (4 * logp.exp() * (1 - logp.exp())) ** 2)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    assert largest_difference(found, expected) < 1e-9


def test_the_example_obeys_the_law_of_weights(undecided):
    logp = torch.tensor([0.0, -0.6931472, -200.0, -torch.inf])
    found = undecided(0.5).weight(TokenStats(logp))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.0, 0.0]))


def test_the_example_can_be_named_as_code_in_a_recipe(undecided):
    member = build("objective", {"name": "objective_guide:Undecided", "sharpness": 2}, {}, allow_code=True)
    assert member == undecided(2)
