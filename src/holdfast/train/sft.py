"""Supervised fine-tuning as a method of the loop: batches of demonstrations, an objective on their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from holdfast.data.batches import Batches
from holdfast.models.cost import Cost
from holdfast.objectives.engine import Engine, Totals
from holdfast.train.method import Batch, MicroLoss


@dataclass(frozen=True)
class SFT:
    """Minimizes an objective on demonstrations.

    Attributes:
        engine: The chunked objective.
        batches: This process's micro-batches, step after step without end.
        cost: FLOPs of a micro-batch.
        device: Where the model is.
    """

    engine: Engine
    batches: Batches
    cost: Cost
    device: torch.device

    def next_step(self) -> Sequence[Batch]:
        """Return this process's micro-batches of the next optimizer step."""
        return [batch.to(self.device).tensors() for batch in self.batches.next_step()]

    def totals(self, batches: Sequence[Batch]) -> Totals:
        """Return the step's denominators over all micro-batches and processes."""
        return self.engine.totals(batches)

    def loss(self, batch: Batch, totals: Totals) -> MicroLoss:
        """Return the objective on one micro-batch, divided by the step's denominator."""
        out = self.engine.loss(batch, totals)
        sums: dict[str, torch.Tensor | float] = {
            "loss": out.objective,
            "nll": out.sums.nll,
            "weight": out.sums.weight,
            "low_weight": out.sums.light,
            "target_tokens": out.tokens,
        }
        return MicroLoss(out.loss, sums)

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return the objective, plain NLL a target token, the mean weight, and the share of weights below 0.1."""
        tokens = sums["target_tokens"] or 1.0
        return {
            "loss": sums["loss"],
            "nll": sums["nll"] / tokens,
            "mean_weight": sums["weight"] / tokens,
            "low_weight_share": sums["low_weight"] / tokens,
        }

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the increments of the budget: exact FLOPs of the shapes as computed, padding included."""
        return self.cost.spent(batches)

    @property
    def cursor(self) -> Mapping[str, int]:
        """Where the data stands."""
        return self.batches.cursor

    def seek(self, cursor: Mapping[str, int]) -> None:
        """Go to a place that `cursor` named."""
        self.batches.seek(cursor)
