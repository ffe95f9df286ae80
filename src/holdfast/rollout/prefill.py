"""Prompts of a batch compute a common beginning once, and ``generate`` goes on from their keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache

from holdfast.data.batches import SharePrefixes, collate
from holdfast.data.encode import Encoded
from holdfast.data.prefixes import Prefixes, shared_prefixes, worthwhile
from holdfast.models.shareable import refusal
from holdfast.models.shared_prefill import prefilled

Prompts = Sequence[Sequence[int]]
"""Tokens of the rows of one batch."""


@dataclass(frozen=True)
class Prefill:
    """How the batches of one generation are begun.

    Attributes:
        model: In eval mode.
        share: ``never`` leaves prompts to Transformers; ``auto`` those batches that would gain too little.
    """

    model: Any
    share: SharePrefixes

    @classmethod
    def of(cls, model: Any, batches: Sequence[Prompts], *, share: SharePrefixes, dtype: torch.dtype) -> Prefill:
        """Return a prefill that shares if one of the first batches gains by it and the model proves exact.

        Raises:
            UserError: ``share`` is ``always``, and the model cannot share prefixes exactly.
        """
        if not any(_shared(prompts, share) for prompts in batches):
            return cls(model, "never")
        longest = max((prompt for prompts in batches for prompt in prompts), key=len)
        reason = refusal(model, longest, dtype=dtype, insisted=share == "always")
        return cls(model, share if reason is None else "never")

    def cache(self, prompts: Prompts, *, pad_token_id: int) -> DynamicCache | None:
        """Return keys and values of all but the last token of each prompt, padded on the left; None if not shared."""
        found = _shared(prompts, self.share)
        if found is None:
            return None
        batch = replace(collate(_rows(prompts), pad_token_id=pad_token_id), prefixes=found)
        return prefilled(self.model, batch.to(next(self.model.parameters()).device).token_tensors())


def _shared(prompts: Prompts, share: SharePrefixes) -> Prefixes | None:
    if share == "never" or min(map(len, prompts)) < 2:
        return None
    found = shared_prefixes(_rows(prompts))
    return found if share == "always" or worthwhile([found]) else None


def _rows(prompts: Prompts) -> list[Encoded]:
    """The last token of each prompt is left to ``generate``, which takes the first answer's token from it."""
    return [Encoded(tuple(prompt[:-1]), len(prompt) - 1) for prompt in prompts]
