"""Sequential revision in batches: all open episodes answer together, hear their verdicts, and answer again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from holdfast.data.encode import questions
from holdfast.environments.base import Episode
from holdfast.models.ranks import ALONE, Ranks
from holdfast.recipe import Decoding
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.rollout.generate import Progress, Reply, positions


class Answered(NamedTuple):
    """An episode and what the model said in it.

    Attributes:
        episode: After its last judged reply.
        replies: One an attempt; as many as ``episode.verdicts``.
    """

    episode: Episode
    replies: tuple[Reply, ...]


def answer(
    model: Any,
    tokenizer: Any,
    episodes: Sequence[Episode],
    decoding: Decoding,
    *,
    batch_size: int,
    compute_dtype: torch.dtype,
    seed: int = 0,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
    answerer: Answerer = TRANSFORMERS,
) -> list[Answered]:
    """Play each episode to its end: until it is solved, its attempts are used up, or no room is left in the context.

    Round k asks all open episodes for their k-th reply in one go. Every generated reply is judged. An episode whose
    conversation has outgrown the model's positions after its first attempt stays unsolved; a first prompt that does
    not fit is an error.

    Args:
        model, tokenizer, batch_size, compute_dtype, seed, progress, ranks: See `holdfast.rollout.generate.generate`.
        episodes: Not yet begun, or already under way.
        decoding: See `holdfast.rollout.generate.generate`.
        answerer: Who answers.

    Raises:
        DataError: see `holdfast.rollout.generate.generate`.
    """
    limit = positions(model)
    state = list(episodes)
    replies: list[tuple[Reply, ...]] = [() for _ in state]
    going = [number for number, episode in enumerate(state) if not episode.done]
    while going:
        prompts = questions(tokenizer, [state[number].messages for number in going])
        asked = [
            (number, prompt)
            for number, prompt in zip(going, prompts, strict=True)
            if limit is None or prompt.n_prompt < limit or not state[number].verdicts
        ]
        said = answerer.replies(
            model, tokenizer, [prompt for _, prompt in asked], decoding,
            batch_size=batch_size, compute_dtype=compute_dtype, seed=seed, progress=progress, ranks=ranks,
        )  # fmt: skip
        for (number, _), reply in zip(asked, said, strict=True):
            state[number] = state[number].step(reply.text)
            replies[number] = (*replies[number], reply)
        going = [number for number, _ in asked if not state[number].done]
    return [Answered(episode, own) for episode, own in zip(state, replies, strict=True)]
