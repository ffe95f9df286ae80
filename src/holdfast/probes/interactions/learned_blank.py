"""A blank that is learned: the vector under which words interact least across two groups, on average.

It begins as the embedding of the blank token and follows the gradient of::

    | v(S₁ ∪ S₂ ∪ S₃) − v(S₁ ∪ S₃) − v(S₂ ∪ S₃) + v(S₃) |

over random disjoint groups S₁, S₂ of one to three players; S₃ is a random part of the others, and all of them one time
in three. If words in a blank's place say nothing, v(S) is what S says, and the difference what S₁ and S₂ say together.

Reference: the program of Ren et al. 2024 (ICLR), as described; SGD with momentum 0.9 and their rate, fewer epochs.

Shapes: ``H`` width of the embeddings, ``n`` players.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from holdfast.errors import UserError
from holdfast.probes.interactions.game import Game
from holdfast.probes.interactions.masking import Blank
from holdfast.probes.interactions.outputs import Masks, reading

LARGEST_GROUP = 3
EPOCHS = 100
RATE = 1e-3
MOMENTUM = 0.9


def learned_blank(
    base: Any, games: Sequence[Game], start: Blank, *, epochs: int = EPOCHS, rate: float = RATE, seed: int = 0
) -> Blank:
    """Return a learned blank of a base model.

    Cost: four whole rows, forward and backward, a game and epoch.

    Args:
        base: The untrained model; its weights stay as they are.
        games: Prompts of training.
        start: A blank with a vector.
        epochs: Passes over the games.
        rate: Learning rate.
        seed: Of the groups.

    Raises:
        UserError: ``start`` has no vector, or a game has fewer than two players.
    """
    if start.vector_H is None or any(len(game.players) < 2 for game in games):
        raise UserError("a learned blank begins with a vector, and needs two players or more in every game")
    generator = np.random.default_rng(seed)
    vector_H = start.vector_H.clone().to(next(iter(base.parameters())).device).requires_grad_(True)
    optimizer = torch.optim.SGD([vector_H], lr=rate, momentum=MOMENTUM)
    frozen = [(weight, weight.requires_grad) for weight in base.parameters()]
    try:
        for weight, _ in frozen:
            weight.requires_grad_(False)
        with reading(base, replace(start, vector_H=vector_H), games, share=False) as reader:
            for _ in range(epochs):
                for place in generator.permutation(len(games)):
                    game = games[int(place)]
                    v_4 = reader.of_rows(game, _four(len(game.players), generator))
                    optimizer.zero_grad()
                    (v_4[0] - v_4[1] - v_4[2] + v_4[3]).abs().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
    finally:
        for weight, learns in frozen:
            weight.requires_grad_(learns)
    moved = float((vector_H.detach().cpu() - start.vector_H.cpu()).norm())
    return Blank(
        "learned", vector_H.detach().cpu(), f"learned over {epochs} epochs from {start.words}, moved by {moved:.3g}"
    )


def _four(n: int, generator: np.random.Generator) -> Masks:
    """Return the masks S₁∪S₂∪S₃, S₁∪S₃, S₂∪S₃ and S₃, (4, n)."""
    most = min(LARGEST_GROUP, n // 2)
    first, second = (int(size) for size in generator.integers(1, most + 1, size=2))
    order = generator.permutation(n)
    rest = order[first + second :]
    third = rest if generator.random() < 1 / 3 else rest[generator.random(len(rest)) < 0.5]
    masks = np.zeros((4, n), dtype=bool)
    masks[:, third] = True
    masks[:2, order[:first]] = True
    masks[::2, order[first : first + second]] = True
    return masks
