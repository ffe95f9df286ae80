"""Log-probabilities under the policy of some steps ago, taken for the rows of several steps at once.

At the first of every ``refresh`` optimizer steps the model, as it is then, scores the rows of all of them; each step
then finds its own scores with its batches. A run that is resumed in between cannot ask that policy again, so the scores
that are not used yet travel in the cursor: compressed float32, exact.

Shapes: ``B`` rows of a batch, ``T`` tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.data.batches import Batches
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.objectives.engine import Engine
from holdfast.train.packed import packed, unpacked


class OldPolicy:
    """Gives every batch its ``old_logp``.

    Args:
        engine: Whose model is the policy.
        refresh: Optimizer steps from one old policy to the next.
        compute_dtype: In which it is asked: that of training, so that the ratio begins at 1.
        device: Where the model is.
    """

    def __init__(self, engine: Engine, *, refresh: int, compute_dtype: torch.dtype, device: torch.device) -> None:
        self.engine, self.refresh, self.compute_dtype, self.device = engine, refresh, compute_dtype, device
        self._ahead: deque[list[Tensor]] = deque()

    def ask(self, batches: Batches) -> list[Tensor]:
        """Return log p_old, (B, T) float32, for each micro-batch of the step that ``batches`` gives next."""
        if not self._ahead:
            here = batches.cursor
            with evaluating(self.engine.model), torch.no_grad(), compute(self.engine.model, self.compute_dtype):
                for _ in range(self.refresh):
                    step = [batch.to(self.device).tensors() for batch in batches.next_step()]
                    self._ahead.append([self.engine.logp(batch).logp_BT.float() for batch in step])
            batches.seek(here)
        return self._ahead.popleft()

    @property
    def state(self) -> list[list[dict[str, Any]]]:
        """What is known of the steps to come, as JSON."""
        return [[packed(logp_BT) for logp_BT in step] for step in self._ahead]

    def restore(self, state: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Take up what `state` returned."""
        self._ahead = deque([unpacked(stored).to(self.device) for stored in step] for step in state)
