"""A method with a penalty on the update beside its loss: any method, the penalty once an optimizer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from holdfast.models.ranks import ALONE, Ranks
from holdfast.objectives.subspace_penalty import SubspacePenalty
from holdfast.train.method import Batch, Method, MicroLoss

LOGGED = "subspace_penalty"
"""Name in ``metrics.jsonl`` of what is penalized, before its strength."""


@dataclass
class Penalized:
    """Adds ``strength · penalty`` to a method's loss.

    Weights do not move within a step, so the penalty is computed with the step's first micro-batch alone. Every rank
    computes it whole, and data parallelism, which averages gradients, leaves it as it is. At strength 0 it is measured,
    and no bit of training differs.

    Attributes:
        method: Whose loss it joins.
        penalty: Against the base.
        ranks: Of the job.
    """

    method: Method
    penalty: SubspacePenalty
    ranks: Ranks = ALONE
    _due: bool = field(default=False, init=False)

    def next_step(self) -> Sequence[Batch]:
        """Return the method's micro-batches; the first that is asked for its loss pays the penalty."""
        self._due = True
        return self.method.next_step()

    def totals(self, batches: Sequence[Batch]) -> Any:
        """Return the method's denominators."""
        return self.method.totals(batches)

    def loss(self, batch: Batch, totals: Any) -> MicroLoss:
        """Return the method's loss of one micro-batch, once a step with the penalty."""
        out = self.method.loss(batch, totals)
        due, self._due = self._due, False
        if not due:
            return out
        strength = self.penalty.asked.strength
        with torch.set_grad_enabled(strength > 0):
            value = self.penalty()
        loss = out.loss + strength * value if strength > 0 else out.loss
        return MicroLoss(loss, {**out.sums, LOGGED: value.detach() / self.ranks.count}, out.vectors)

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return what the method tells, and what is penalized, before its strength; ``loss`` is the method's alone."""
        return {**self.method.summarize(sums), LOGGED: sums[LOGGED]}

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the method's increments of the budget, the penalty's FLOPs among them."""
        spent = self.method.step_cost(batches)
        return {**spent, "flops": spent["flops"] + self.penalty.step_flops}

    def stepped(self) -> None:
        """Tell the method that the optimizer took the step."""
        self.method.stepped()

    @property
    def cursor(self) -> Mapping[str, Any]:
        """Where the method's data stand."""
        return self.method.cursor

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        self.method.seek(cursor)
