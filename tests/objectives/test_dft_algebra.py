"""What DFT is, in float64 and without a model."""

from __future__ import annotations

import math

import pytest
import torch

from holdfast.objectives.base import TokenStats
from holdfast.objectives.dft import DFT
from holdfast.objectives.nll import NLL


def rows(count: int = 64, vocabulary: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(count, vocabulary, dtype=torch.float64, generator=generator)
    return logits.requires_grad_(), torch.randint(0, vocabulary, (count,), generator=generator)


def target_logp(logits, target):
    return logits.log_softmax(-1).gather(1, target[:, None])[:, 0]


def test_the_gradient_of_dft_is_that_of_minus_the_probability():
    logits, target = rows()
    logp = target_logp(logits, target)
    (dft,) = torch.autograd.grad((DFT().weight(TokenStats(logp.detach())) * -logp).sum(), logits, retain_graph=True)
    (minus_p,) = torch.autograd.grad(-logp.exp().sum(), logits)
    torch.testing.assert_close(dft, minus_p, rtol=1e-13, atol=1e-15)


def test_without_the_detached_weight_unlikely_tokens_would_be_pushed_down():
    logits, target = rows()
    logp = target_logp(logits, target)
    (leaky,) = torch.autograd.grad((logp.exp() * -logp).sum(), logits, retain_graph=True)
    (dft,) = torch.autograd.grad((DFT().weight(TokenStats(logp.detach())) * -logp).sum(), logits)
    at_target = leaky.gather(1, target[:, None])[:, 0]
    unlikely = logp.detach().exp() < 1 / math.e
    assert unlikely.any()
    assert not unlikely.all()
    assert (at_target[unlikely] > 0).all(), "a positive gradient lowers the target's logit"
    assert (dft.gather(1, target[:, None]) < 0).all()


def test_the_target_logit_gradient_is_p_times_one_minus_p_and_fades_at_both_ends():
    logits, target = rows()
    logp = target_logp(logits, target)
    (dft,) = torch.autograd.grad((DFT().weight(TokenStats(logp.detach())) * -logp).sum(), logits)
    p = logp.detach().exp()
    torch.testing.assert_close(dft.gather(1, target[:, None])[:, 0], -p * (1 - p))


def test_under_uniform_logits_dft_is_one_vocabulary_th_of_nll():
    logp = torch.full((5,), -math.log(40.0), dtype=torch.float64)
    torch.testing.assert_close(DFT().weight(TokenStats(logp)), torch.full((5,), 1 / 40, dtype=torch.float64))


def test_the_floor_lifts_impossible_tokens_and_only_them():
    logp = torch.tensor([0.8, 0.3, 1e-8]).log()
    torch.testing.assert_close(DFT(floor=0.1).weight(TokenStats(logp)), torch.tensor([0.8, 0.3, 0.1]))


def test_nll_weighs_nothing():
    assert NLL().weight(TokenStats(torch.zeros(3))) is None


@pytest.mark.parametrize("floor", [-0.1, 1.5])
def test_a_floor_outside_zero_to_one_is_refused_with_its_value(floor):
    with pytest.raises(ValueError, match=str(floor)):
        DFT(floor=floor)
