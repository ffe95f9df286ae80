"""The example of docs/add-an-objective.md is a lawful objective."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from objective_kit import engine_gradients, ragged

import tiny_models
from holdfast.members import build
from holdfast.objectives.base import TokenStats
from holdfast.objectives.dft import DFT
from holdfast.objectives.nll import NLL

GUIDE = Path(__file__).parents[2] / "docs" / "add-an-objective.md"


@pytest.fixture(scope="module")
def power():
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    module = ModuleType("objective_guide")
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    yield module.Power
    del sys.modules[module.__name__]


@pytest.mark.parametrize(("alpha", "same"), [(0.0, NLL()), (1.0, DFT())], ids=["0 is nll", "1 is dft"])
def test_the_limits_of_the_example_are_nll_and_dft_bit_for_bit(power, alpha, same):
    model, batch = tiny_models.build("llama"), ragged()
    (loss, found), (expected_loss, expected) = (
        engine_gradients(model, member, [batch], chunk_rows=7) for member in (power(alpha), same)
    )
    assert loss == expected_loss
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_example_obeys_the_law_of_weights(power):
    logp = torch.tensor([0.0, -1.0, -200.0, -torch.inf])
    found = power(0.5).weight(TokenStats(logp))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.6065307, 0.0, 0.0]))


def test_the_example_can_be_named_as_code_in_a_recipe(power):
    member = build("objective", {"name": "objective_guide:Power", "alpha": 2}, {}, allow_code=True)
    assert member == power(2)
