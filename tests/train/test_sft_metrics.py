"""What fine-tuning logs of a step: the loss that shrinks under DFT, and beside it all that stays comparable."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tiny_models
from holdfast.data.batches import Batches
from holdfast.data.encode import Encoded
from holdfast.models.counting import cost
from holdfast.objectives.anchored import Anchored
from holdfast.objectives.base import Objective
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.train.sft import SFT


class Rows:
    """Eight ragged rows as a source."""

    rows: tuple[Encoded, ...] = tuple(Encoded(tuple(range(3 + n, 9 + 2 * n)), 2 + n % 2) for n in range(8))
    starts = range(8)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Any) -> list[Encoded]:
        return [self.rows[index] for index in indices]

    def pictured(self) -> None:
        return None

    def fingerprint(self) -> str:
        return ""


def told(objective: Objective, *, base: Any = None) -> tuple[dict[str, float], torch.Tensor]:
    """Return a step's metrics over four micro-batches, and log p of every token at every target, by plain autograd."""
    model = tiny_models.build("llama").double()
    model.lm_head = nn.Linear(16, 96, dtype=torch.float64)
    with torch.no_grad():  # so that chances lie on both sides of 0.1
        model.lm_head.weight.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
        model.lm_head.bias.copy_(4.0 * (torch.arange(96) // 4 == 2))
    batches = Batches(Rows(), seed=0, per_device_train_batch_size=2, gradient_accumulation_steps=4)  # type: ignore[arg-type]
    method = SFT(Engine(model, objective, base=base), batches, cost(model, ()), torch.device("cpu"))
    step = method.next_step()
    totals, sums, target_logp = method.totals(step), dict[str, float](), []
    for batch in step:
        out = method.loss(batch, totals)
        for name, value in out.sums.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        for name, vector in out.vectors.items():
            sums[name] = sums.get(name, 0.0) + float(vector.square().sum())
        learned = batch["labels"][:, 1:] != -100
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with torch.no_grad():
            logp_NV = model(**inputs).logits[:, :-1][learned].log_softmax(-1)
        target_N = batch["labels"][:, 1:][learned]
        target_logp.append(torch.cat([logp_NV.gather(1, target_N[:, None]), logp_NV], dim=1))
    return dict(method.summarize(sums)), torch.cat(target_logp)


def test_likelihood_entropy_and_weights_are_told_beside_the_loss() -> None:
    metrics, found = told(DFT())
    logp, all_logp = found[:, 0], found[:, 1:]
    p = logp.exp()
    assert 0 < (p < 0.1).sum() < len(p)
    expected = {
        "loss": -(p * logp).mean(),
        "nll": -logp.mean(),
        "entropy": -(all_logp.exp() * all_logp).sum(1).mean(),
        "mean_weight": p.mean(),
        "low_weight_share": (p < 0.1).double().mean(),
        "no_weight_share": 0.0,
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-6), name
    assert metrics["loss"] < metrics["nll"] / 5, "what users take for a fault"
    assert "penalty" not in metrics


def test_under_nll_the_loss_is_the_likelihood_and_every_token_weighs_one() -> None:
    metrics, _ = told(NLL())
    assert metrics["loss"] == pytest.approx(metrics["nll"], rel=1e-12)
    assert (metrics["mean_weight"], metrics["low_weight_share"], metrics["no_weight_share"]) == (1.0, 0.0, 0.0)


def test_an_anchor_tells_its_divergence_from_the_base() -> None:
    metrics, _ = told(Anchored(on="nll", strength=2.0), base=tiny_models.build("llama", seed=1).double())
    assert metrics["penalty"] > 0
    assert metrics["loss"] == pytest.approx(metrics["nll"] + metrics["penalty"], rel=1e-9)
