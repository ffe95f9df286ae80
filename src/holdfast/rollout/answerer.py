"""Who answers prompts: the contract, and Transformers, which is always there.

The other one is `holdfast.rollout.vllm_answerer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.data.encode import Encoded
from holdfast.models.ranks import ALONE, Ranks
from holdfast.recipe import Decoding
from holdfast.rollout.generate import Progress, Reply, generate_from


class Answerer(ABC):
    """Lets a model answer prompts.

    A reply means the same whoever made it: the model's own tokens with the one that ends it, at most
    ``max_new_tokens`` of them and as many as the model's positions leave room for; a sampled one depends on the seed,
    its prompt and its number among equal prompts. Numerics differ, so that of two answerers some replies differ.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Who it is, with a version where replies depend on it; the facts of a run hold it."""

    @abstractmethod
    def replies(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Encoded],
        decoding: Decoding,
        *,
        batch_size: int,
        compute_dtype: torch.dtype,
        seed: int = 0,
        progress: Progress | None = None,
        ranks: Ranks = ALONE,
    ) -> list[Reply]:
        """Return one reply a prompt, by the weights that ``model`` has now.

        Args:
            model, tokenizer, prompts, decoding, batch_size, compute_dtype, seed, progress, ranks: See
                `holdfast.rollout.generate.generate_from`.

        Raises:
            DataError: a prompt leaves no room for an answer.
        """


@dataclass(frozen=True)
class Transformers(Answerer):
    """`holdfast.rollout.generate.generate_from`: any model, any device, all ranks, pictures."""

    @property
    def name(self) -> str:
        """Without a version: the recorded ``torch`` stands for the machine, as it always did."""
        return "transformers"

    def replies(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Encoded],
        decoding: Decoding,
        *,
        batch_size: int,
        compute_dtype: torch.dtype,
        seed: int = 0,
        progress: Progress | None = None,
        ranks: Ranks = ALONE,
    ) -> list[Reply]:
        """See `Answerer.replies`."""
        return generate_from(
            model, tokenizer, prompts, decoding,
            batch_size=batch_size, compute_dtype=compute_dtype, seed=seed, progress=progress, ranks=ranks,
        )  # fmt: skip


TRANSFORMERS = Transformers()
"""Who answers where nobody else is named."""


def named_unless_usual(answerer: Answerer) -> dict[str, str]:
    """Return what numbers depend on beside all else: nothing under Transformers, as when older runs were named."""
    return {} if answerer == TRANSFORMERS else {"generate_with": answerer.name}
