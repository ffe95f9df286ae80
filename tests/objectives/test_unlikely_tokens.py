"""A token that the base holds impossible, such as a new end of turn: what it takes to learn it under DFT."""

from __future__ import annotations

import torch
from torch import nn

import tiny_models
from holdfast.objectives.base import Objective
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.train.stepping import Settings, make_optimizer

END = 2
RARE = 1e-8


def model_without_an_end() -> nn.Module:
    """A tiny Llama that gives every token but the end the same chance, about 1/95."""
    model: nn.Module = tiny_models.build("llama")
    model.lm_head = nn.Linear(16, 96)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(0))
        model.lm_head.bias.zero_()
        model.lm_head.bias[END] = torch.tensor(95 * RARE).log()
    return model


def answers(step: int) -> dict[str, torch.Tensor]:
    """Eight answers of three words and the end, after a prompt of two."""
    ids = torch.randint(3, 20, (8, 6), generator=torch.Generator().manual_seed(step))
    ids[:, -1] = END
    labels = ids.clone()
    labels[:, :2] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def chance_of_the_end(engine: Engine) -> float:
    with torch.no_grad():
        return float(engine.logp(answers(0)).logp_BT[:, -1].exp().mean())


def learned(objective: Objective, *, adam_epsilon: float = 1e-8) -> tuple[float, float]:
    """Return the chance of the end before and after 60 steps at a rate of 0.01."""
    model = model_without_an_end()
    settings = Settings(steps=60, learning_rate=1e-2, adam_epsilon=adam_epsilon)
    optimizer, engine = make_optimizer(list(model.parameters()), settings), Engine(model, objective)
    before = chance_of_the_end(engine)
    for step in range(settings.steps):
        optimizer.zero_grad()
        engine.loss(answers(step), engine.totals([answers(step)])).loss.backward()
        optimizer.step()
    return before, chance_of_the_end(engine)


def test_dft_with_a_floor_learns_an_end_that_was_impossible_and_dft_without_one_does_not_in_that_time():
    before, floored = learned(DFT(floor=0.1))
    assert 0.5 * RARE < before < 2 * RARE
    assert floored > 0.5
    assert learned(NLL())[1] > 0.2
    assert learned(DFT())[1] < 1e-4


def test_a_larger_epsilon_of_adam_takes_the_end_from_plain_dft_for_good_and_not_from_the_floor():
    """Adam rescales gradients down to about its epsilon; those of a token of 1e-8 under DFT lie below it."""
    before, plain = learned(DFT(), adam_epsilon=1e-5)
    assert plain < before
    assert learned(DFT(floor=0.1), adam_epsilon=1e-5)[1] > 0.5
