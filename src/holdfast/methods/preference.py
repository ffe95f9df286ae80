"""DPO carried out; see `holdfast.methods.dpo.DPO` for the formula.

Shapes: ``B`` rows of a batch, two of each pair, the chosen one first; ``P`` pairs; ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from holdfast.data.batches import Batches
from holdfast.methods.dpo import DPO
from holdfast.methods.price import added
from holdfast.models.compute import compute
from holdfast.models.cost import Cost
from holdfast.models.modes import evaluating
from holdfast.models.ranks import Ranks
from holdfast.objectives.engine import Engine
from holdfast.train.method import Batch, MicroLoss

SUMMED = ("chosen_logp", "rejected_logp", "rewards_chosen", "rewards_rejected", "rewards_margin", "accuracy")
"""What is logged as a mean over the pairs of a step, beside the loss."""


class PairTotals(NamedTuple):
    """What one optimizer step divides by, over all ranks."""

    pairs: int
    ranks: int


@dataclass
class Preference:
    """Compares answers, two by two.

    Attributes:
        options: Of the recipe's method.
        engine: Gives log-probabilities of the model as it is called in training.
        batches: This process's micro-batches: rows 2k and 2k + 1 of the source are a pair.
        cost: FLOPs of a micro-batch.
        device: Where the model is.
        ranks: Of the job.
    """

    options: DPO
    engine: Engine
    batches: Batches
    cost: Cost
    device: torch.device
    ranks: Ranks
    _base: dict[int, float] = field(default_factory=dict, init=False)

    def ask_base(self, *, steps: int, forward: Cost, compute_dtype: torch.dtype) -> dict[str, float]:
        """Take down what the model as it is, untrained, says of the rows of the coming ``steps``; return the price.

        The very micro-batches of training are computed, so that the first step's margins are 0 in any precision.

        Args:
            steps: Of the run; no row is computed twice, but for those of the step in which an epoch ends.
            forward: What the model costs with nothing that learns.
            compute_dtype: Of training.
        """
        here = self.batches.cursor
        known: dict[int, float] = {}
        spent: dict[str, float] = {}
        with evaluating(self.engine.model), torch.no_grad(), compute(self.engine.model, compute_dtype):
            for _ in range(asked_steps(steps, rows=len(self.batches.source), rows_per_step=self.batches.rows_per_step)):
                for batch in self.batches.next_step():
                    tensors = batch.to(self.device).tensors()
                    logp_B = self.engine.logp(tensors).logp_BT.sum(1).tolist()
                    known = dict(zip(batch.row_numbers, logp_B, strict=True)) | known
                    price = forward.spent([tensors])
                    spent = added(spent, {"flops": price["flops"], "flops_6nd": price["flops_6nd"] // 3})
        self.batches.seek(here)
        parts = self.ranks.gathered({"known": list(known.items()), "spent": spent})
        self._base = {number: value for part in parts for number, value in part["known"]}
        return added(*(part["spent"] for part in parts))

    def next_step(self) -> Sequence[Batch]:
        """Return this process's micro-batches of the next optimizer step, with what the base said of each row."""
        return [
            {**batch.to(self.device).tensors(), "base_sum": self._of_base(batch.row_numbers)}
            for batch in self.batches.next_step()
        ]

    def totals(self, batches: Sequence[Batch]) -> PairTotals:
        """Return the step's denominators over all micro-batches and ranks."""
        totals = self.engine.totals([for_model(batch) for batch in batches])
        return PairTotals(max(totals.examples // 2, 1), totals.ranks)

    def loss(self, batch: Batch, totals: PairTotals) -> MicroLoss:
        """Return the loss of one micro-batch, divided by the step's pairs."""
        found, beta = self.engine.logp(for_model(batch)), self.options.beta
        logp_B = found.logp_BT.sum(1)
        change_B = logp_B - batch["base_sum"].to(logp_B)
        if self.options.loss_type == "ipo":
            mean_B = change_B / found.counted_BT.sum(1)
            loss_P = (mean_B[0::2] - mean_B[1::2] - 1 / (2 * beta)).square()
        else:
            loss_P = -F.logsigmoid(beta * (change_B[0::2] - change_B[1::2]))
        loss = loss_P.sum() / totals.pairs
        rewards_B, told_B = beta * change_B.detach(), logp_B.detach()
        margin_P = rewards_B[0::2] - rewards_B[1::2]
        figures = (
            told_B[0::2], told_B[1::2], rewards_B[0::2], rewards_B[1::2], margin_P, (margin_P > 0).to(told_B.dtype)
        )  # fmt: skip
        sums: dict[str, Tensor | float] = dict(zip(SUMMED, (one.sum() for one in figures), strict=True))
        return MicroLoss(loss * totals.ranks, {**sums, "loss": loss.detach(), "pairs": len(loss_P)})

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return the loss and, as means over the step's pairs, how likely each answer is and how far they are apart.

        ``rewards`` are beta times the change since the base; ``accuracy`` is the share of pairs whose margin is above
        0. Watch ``chosen_logp``: it may fall although the loss does.
        """
        pairs = sums["pairs"] or 1.0
        return {"loss": sums["loss"], **{name: sums[name] / pairs for name in SUMMED}}

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the increments of the budget: exact FLOPs of the shapes as computed, padding included."""
        return self.cost.spent(batches)

    def stepped(self) -> None:
        """Nothing learns beside the model."""

    @property
    def cursor(self) -> Mapping[str, Any]:
        """Where the data stands."""
        return self.batches.cursor

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        self.batches.seek(cursor)

    def _of_base(self, row_numbers: Sequence[int]) -> Tensor:
        return torch.tensor([self._base[number] for number in row_numbers], dtype=torch.float64)


def asked_steps(steps: int, *, rows: int, rows_per_step: int) -> int:
    """Return how many steps' rows the base is asked about: all, or as many as hold every row."""
    return min(steps, -(-rows // rows_per_step))


def for_model(batch: Batch) -> Batch:
    """Return a batch without what only the method reads."""
    return {name: values for name, values in batch.items() if name != "base_sum"}
