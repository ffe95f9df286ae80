"""Supervised fine-tuning as a method of the loop: batches of demonstrations, an objective on their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.data.batches import Batches
from holdfast.models.cost import Cost
from holdfast.objectives.engine import Engine, Totals
from holdfast.objectives.spread import BINS
from holdfast.train.method import Batch, MicroLoss
from holdfast.train.old_policy import OldPolicy

BINS_OF_P = tuple(f"p{100 * place // BINS}" for place in range(BINS))


@dataclass(frozen=True)
class SFT:
    """Minimizes an objective on demonstrations.

    Attributes:
        engine: The chunked objective.
        batches: This process's micro-batches, step after step without end.
        cost: FLOPs of a micro-batch.
        device: Where the model is.
        old_policy: For an objective that is proximal to the policy of some steps ago.
        row_weights: Of each row of the source; None: all alike.
    """

    engine: Engine
    batches: Batches
    cost: Cost
    device: torch.device
    old_policy: OldPolicy | None = None
    row_weights: torch.Tensor | None = None

    def next_step(self) -> Sequence[Batch]:
        """Return this process's micro-batches of the next optimizer step."""
        old = None if self.old_policy is None else self.old_policy.ask(self.batches)
        made = [batch.to(self.device) for batch in self.batches.next_step()]
        step = [{**batch.tensors(), **self._weights(batch.row_numbers)} for batch in made]
        if old is None:
            return step
        return [{**batch, "old_logp": logp_BT} for batch, logp_BT in zip(step, old, strict=True)]

    def _weights(self, row_numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        if self.row_weights is None:
            return {}
        return {"row_weight": self.row_weights[list(row_numbers)].to(self.device)}

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
            "no_weight": out.sums.none,
            "entropy": out.sums.entropy,
            "penalty": out.sums.penalty,
            "target_tokens": out.tokens,
        }
        for place, name in enumerate(BINS_OF_P):
            sums |= {f"count_{name}": out.spread.count_K[place], f"squares_{name}": out.spread.squares_K[place]}
        vectors = {f"gradient_{name}": out.spread.sum_KH[place] for place, name in enumerate(BINS_OF_P)}
        return MicroLoss(out.loss, sums, vectors)

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return the objective, and a target token's mean of plain NLL, of entropy, and of what the objective makes.

        ``gradient_variance_p0`` … ``_p80``: by fifths of p, how much the gradients of tokens differ from their mean:
        the mean squared distance over all tokens of the step; fifths without a token are left out.

        Of the weights: their mean, the share below 0.1, and the share that is 0 (masked, or clipped). ``penalty`` is
        there for objectives that have one.
        """
        tokens = sums["target_tokens"] or 1.0
        told = {
            "loss": sums["loss"],
            "nll": sums["nll"] / tokens,
            "entropy": sums["entropy"] / tokens,
            "mean_weight": sums["weight"] / tokens,
            "low_weight_share": sums["low_weight"] / tokens,
            "no_weight_share": sums["no_weight"] / tokens,
        }
        told |= {
            f"gradient_variance_{name}": _variance(
                sums[f"count_{name}"], squares=sums[f"squares_{name}"], squared_sum=sums[f"gradient_{name}"]
            )
            for name in BINS_OF_P
            if sums[f"count_{name}"]
        }
        return told | ({"penalty": sums["penalty"] / tokens} if self.engine.objective.penalizes else {})

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the increments of the budget: exact FLOPs of the shapes as computed, padding included."""
        return self.cost.spent(batches)

    def stepped(self) -> None:
        """Nothing learns beside the model."""

    @property
    def cursor(self) -> Mapping[str, Any]:
        """Where the data stands, and what the old policy said of the steps to come."""
        ahead = {} if self.old_policy is None else {"old_policy": self.old_policy.state}
        return {**self.batches.cursor, **ahead}

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        self.batches.seek(cursor)
        if self.old_policy is not None:
            self.old_policy.restore(cursor.get("old_policy", ()))


def _variance(count: float, *, squares: float, squared_sum: float) -> float:
    """Return the mean squared distance of vectors from their mean, of Σ‖g‖² and ‖Σg‖²; of one vector it is 0."""
    return max(0.0, squares / count - squared_sum / count**2) if count > 1 else 0.0
