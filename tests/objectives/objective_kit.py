"""What the objective tests share: ragged batches, a naive loss in plain autograd, and gradients by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine

VOCABULARY = 96


def ragged(*, rows: int = 8, tokens: int = 11, seed: int = 0, side: str = "right") -> dict[str, Tensor]:
    """Rows of different lengths with prompts of different lengths; row 3 has no target at all."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 80, (rows, tokens), generator=generator)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row in range(rows):
        length, prompt = tokens - row % 4, 2 + row % 3
        at = slice(0, length) if side == "right" else slice(tokens - length, tokens)
        words = torch.randint(3, 80, (length,), generator=generator)
        ids[row, at], mask[row, at] = words, 1
        labels[row, at] = torch.where(torch.arange(length) < prompt, -100, words)
    labels[3] = -100
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def split(batch: dict[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Cut a batch into micro-batches of ``size`` rows."""
    rows = len(batch["input_ids"])
    return [{name: v[i : i + size] for name, v in batch.items()} for i in range(0, rows, size)]


def gradients(model) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def engine_gradients(model, objective, batches, **options):
    """Return the step's loss (a float) and the gradients, by the engine."""
    model.zero_grad()
    engine = Engine(model, objective, **options)
    totals = engine.totals(batches)
    parts = [engine.loss(batch, totals) for batch in batches]
    for part in parts:
        part.loss.backward()
    return sum(float(part.loss.detach()) for part in parts), gradients(model)


def naive_rows(model, batch) -> tuple[Tensor, Tensor]:
    """Return log p of every learned label and its row's number, by plain autograd over the full logits."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    learned = labels != -100
    logp = torch.log_softmax(logits[learned].to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    rows = torch.arange(len(labels))[:, None].expand_as(labels)[learned]
    return logp.gather(1, labels[learned][:, None])[:, 0], rows


def naive_gradients(model, batch, weight=lambda logp: torch.ones_like(logp), normalize="tokens"):
    """The same as `engine_gradients`, in five lines of plain autograd on the whole batch."""
    model.zero_grad()
    logp, rows = naive_rows(model, batch)
    weights = weight(logp.detach())
    per_row = torch.bincount(rows)[rows].to(logp.dtype)
    shares = {
        "tokens": torch.full_like(logp, 1 / len(logp)),
        "examples": 1 / (per_row * len(rows.unique())),
        "weights": torch.full_like(logp, 1 / float(weights.sum())),
    }[normalize]
    loss = -(shares * weights * logp).sum()
    loss.backward()
    return float(loss.detach()), gradients(model)


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the largest difference between gradients, relative to each tensor's largest entry; names must agree."""
    assert found.keys() == expected.keys()
    return max(float((found[n] - expected[n]).abs().max() / (expected[n].abs().max() + 1e-30)) for n in expected)


@dataclass(frozen=True)
class Smoothed(Objective):
    """Label smoothing: an objective that sees the vocabulary."""

    amount: float = 0.1
    uses_vocabulary: ClassVar[bool] = True

    def row_loss(self, logits_RV, target_R, base_logits_RV):
        return torch.nn.functional.cross_entropy(
            logits_RV, target_R, reduction="none", label_smoothing=self.amount
        )  # fmt: skip


@dataclass(frozen=True)
class Anchored(Objective):
    """Cross-entropy plus the divergence KL(base ‖ model): an objective that sees the base model's logits."""

    needs: ClassVar[frozenset[str]] = frozenset({"base_logits"})
    uses_vocabulary: ClassVar[bool] = True

    def row_loss(self, logits_RV, target_R, base_logits_RV):
        logp_RV, base_RV = logits_RV.log_softmax(-1), base_logits_RV.log_softmax(-1)
        kl_R = (base_RV.exp() * (base_RV - logp_RV)).sum(-1)
        return 0.5 * kl_R - logp_RV.gather(1, target_R[:, None])[:, 0]
