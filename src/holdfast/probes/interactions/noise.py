"""How much outputs differ when the same question is asked again in other company: the floor of all interactions.

A row's output depends a little on the batch it is computed in. Some masks are therefore asked again as whole rows, in
batches of other sizes and in another order, and compared with the outputs in use; so the measurement also checks that
shared computation is exact. In half precision a row rounds alike in every batch, so there the same masks are asked in
float32 too, and the difference counts. In float32 σ is about 1e-6; in bfloat16 it is 1e-2 and more, and an interaction
of order 8 has 16 times as much.

Shapes: ``R`` repeats, ``B`` masks that are asked again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.probes.interactions.game import Game
from holdfast.probes.interactions.outputs import Masks, Reader
from holdfast.probes.interactions.transforms import Array

MASKS = 24
"""Masks that are asked again; σ is then known to about 10 %."""
BATCHES = (MASKS, 7)
"""Rows of a call in each repeat."""


def numeric_noise(reader: Reader, game: Game, values_M: Array, *, repeats: int, seed: int = 0) -> float:
    """Return the standard deviation of an output over repeats.

    Args:
        reader: Of the model.
        game: The game.
        values_M: Its outputs.
        repeats: Computations of each mask that are compared, the outputs in use among them; at least 2.
        seed: Of the masks and their order.

    Raises:
        ValueError: there is nothing to compare.
    """
    if repeats < 2:
        raise ValueError(f"noise is told from at least 2 repeats, got {repeats}")
    generator = np.random.default_rng(seed)
    chosen_B = _chosen(game, seed)
    found_RB = [values_M[chosen_B]]
    for repeat in range(repeats - 1):
        order_B = generator.permutation(len(chosen_B))
        again_B = np.empty(len(chosen_B))
        masks = _masks(game, chosen_B[order_B])
        again_B[order_B] = reader.whole_rows(game, masks, at_once=BATCHES[repeat % len(BATCHES)])
        found_RB.append(again_B)
    return float(np.sqrt(np.var(np.array(found_RB), axis=0, ddof=1).mean()))


def rounding(exact: Reader, game: Game, values_M: Array, *, seed: int = 0) -> float:
    """Return the root mean square difference of outputs from those of a reader in float32.

    Args:
        exact: Of the same model, in float32.
        game: The game.
        values_M: Its outputs in half precision.
        seed: Of the masks.
    """
    chosen_B = _chosen(game, seed)
    apart_B = values_M[chosen_B] - exact.whole_rows(game, _masks(game, chosen_B))
    return float(np.sqrt(np.square(apart_B).mean()))


def noise_tokens(game: Game, *, repeats: int) -> int:
    """Return how many tokens `numeric_noise` has the model read."""
    return len(game.ids) * min(MASKS, game.masks) * (repeats - 1)


def _chosen(game: Game, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).choice(game.masks, size=min(MASKS, game.masks), replace=False)


def _masks(game: Game, places_B: NDArray[np.int64]) -> Masks:
    masks: Masks = (places_B[:, None] >> np.arange(len(game.players))) & 1 == 1
    return masks
