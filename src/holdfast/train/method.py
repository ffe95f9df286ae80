"""The contract between the loop and a way of training: a method supplies batches and a loss, the loop does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch

Batch = Mapping[str, torch.Tensor]


class MicroLoss(NamedTuple):
    """What a method says of one micro-batch.

    Attributes:
        loss: Scalar with graph, divided by the step's denominator over all micro-batches and ranks already.
        sums: Figures that add up over micro-batches and ranks (``loss``, ``nll_sum``, ``tokens``, …).
        vectors: Vectors that add up likewise; of each sum `Method.summarize` hears the squared length, by its name.
    """

    loss: torch.Tensor
    sums: Mapping[str, torch.Tensor | float]
    vectors: Mapping[str, torch.Tensor] = MappingProxyType({})


class Method(Protocol):
    """What distinguishes one way of training from another: its batches and its loss."""

    def next_step(self) -> Sequence[Batch]:
        """Return the micro-batches of the next optimizer step, for this rank."""

    def totals(self, batches: Sequence[Batch]) -> Any:
        """Return the denominators of the step over all its micro-batches and ranks."""

    def loss(self, batch: Batch, totals: Any) -> MicroLoss:
        """Return the loss of one micro-batch."""

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Turn the step's summed metrics into what is logged (``loss``, ``nll``, …)."""

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return what the step costs, as increments of `Spent`."""

    def stepped(self) -> None:
        """Hear that the optimizer took the step: what learns beside the model takes its own."""

    @property
    def cursor(self) -> Mapping[str, Any]:
        """Return where in the data the method stands, as JSON."""

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` returned."""
