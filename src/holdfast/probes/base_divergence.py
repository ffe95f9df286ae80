"""How far what a model says has moved from what its base says: KL divergences on demonstrations, read at moments.

Of every target token of some rows, over the whole vocabulary, teacher-forced, and averaged over tokens, in nats:

=================== =====================================================================================
``kl_from_base``      Σ_v p_base · (log p_base − log p): what the base would say and the model no longer does.
                    Shenfeld et al. 2025 (*RL's razor*, arXiv 2509.04259) find that on a new task it foretells
                    how much is forgotten elsewhere
``kl_to_base``        Σ_v p · (log p − log p_base): what the model says and the base would not
=================== =====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from holdfast.data.batches import Batch
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.objectives.anchored import Anchored
from holdfast.objectives.engine import Engine, Totals
from holdfast.signals.reading import KL_FROM_BASE, KL_TO_BASE

DIRECTIONS = {KL_FROM_BASE: "from_base", KL_TO_BASE: "to_base"}


class BaseDivergence:
    """Asks a model and its base about the same rows.

    Args:
        model: As it trains; `read` takes its weights as they are then.
        base: The untrained model, on the same device; kept in memory.
        batches: The rows, the same at every moment.
        compute_dtype: In which the model is asked.
    """

    def __init__(
        self, model: nn.Module, base: nn.Module, batches: Sequence[Batch], *, compute_dtype: torch.dtype
    ) -> None:
        self.model, self.batches, self.compute_dtype = model, batches, compute_dtype
        self._engines = {
            name: Engine(model, Anchored(on="nll", strength=1.0, direction=direction), base=base)  # type: ignore[arg-type]
            for name, direction in DIRECTIONS.items()
        }

    def read(self) -> dict[str, float]:
        """Return ``kl_from_base`` and ``kl_to_base``, mean nats a target token; call it inside `compute.exported`.

        Costs a forward pass of the model and one of the base on the rows, twice; nothing of it is in the budget.
        """
        device = next(self.model.parameters()).device
        sums = dict.fromkeys(self._engines, 0.0)
        tokens = 0
        alone = Totals(tokens=1, examples=1, weight=None, batches=1, ranks=1)
        with evaluating(self.model), torch.no_grad(), compute(self.model, self.compute_dtype):
            for batch in self.batches:
                tensors = batch.to(device).tensors()
                for name, engine in self._engines.items():
                    told = engine.loss(tensors, alone)
                    sums[name] += float(told.sums.penalty)
                tokens += told.tokens
        return {name: total / max(tokens, 1) for name, total in sums.items()}
