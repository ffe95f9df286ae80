"""What every objective keeps, run over every member of the family and over the options that bound its weights."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from holdfast.members import build, find
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.base import NEEDS, Objective, TokenStats

WEIGHTED = {name: find("objective", name, OBJECTIVES) for name in OBJECTIVES}
ONE_AT_CERTAINTY = ("nll", "dft")
"""Members whose weight is 1 where p = 1."""

EXTREME_LOGP = (0.0, -1e-6, -0.5, -4.0, -30.0, -200.0, -1e4, -math.inf)


def stats(logp: torch.Tensor) -> TokenStats:
    """Statistics of a token's own: everything else is a function of its log-probability here."""
    top = torch.stack([logp.clamp(max=-0.1), *(torch.full_like(logp, -1.0 - k) for k in range(19))], dim=1)
    return TokenStats(
        logp,
        entropy_N=torch.ones_like(logp),
        top_logp_NK=top.sort(descending=True).values,
        base_logp_N=(logp - 1),
        old_logp_N=(logp + 1).clamp(max=0),
        mean_logp_N=logp / 2,
        mean_base_logp_N=(logp - 1) / 2,
    )


def weights(member: Objective, logp: torch.Tensor) -> torch.Tensor:
    found = member.weight(stats(logp))
    return torch.ones_like(logp) if found is None else found


@pytest.fixture(params=WEIGHTED)
def member(request) -> Objective:
    return build("objective", request.param, OBJECTIVES)


def test_a_member_is_a_frozen_objective_that_needs_no_argument(member):
    assert isinstance(member, Objective)
    assert member == type(member)()
    assert member.needs <= NEEDS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_are_finite_not_negative_and_one_a_token(member, dtype):
    logp = torch.tensor(EXTREME_LOGP, dtype=dtype)
    found = weights(member, logp)
    assert found.shape == logp.shape
    assert found.dtype == dtype
    assert bool(found.isfinite().all())
    assert bool((found >= 0).all())


def test_weighing_is_pure_and_row_by_row(member):
    logp = torch.tensor(EXTREME_LOGP)
    whole, before = weights(member, logp), logp.clone()
    assert torch.equal(logp, before)
    assert torch.equal(weights(member, logp), whole)
    parts = torch.cat([weights(member, part) for part in logp.split(3)])
    assert torch.equal(parts, whole)


def test_no_tokens_give_no_weights(member):
    assert weights(member, torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("name", ONE_AT_CERTAINTY)
def test_a_certain_token_weighs_one(name):
    assert weights(build("objective", name, OBJECTIVES), torch.zeros(1)).item() == 1.0


def test_members_are_described_and_torch_free_at_import(member):
    assert type(member).__doc__
    assert "loss_n" in type(member).__doc__, "a member's docstring shows its formula"
    check = f"import sys, {type(member).__module__}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
