"""What measuring interactions costs, in FLOPs, told from the prompts' tokens and a model's counted cost.

Shapes: ``B`` rows, ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models.cost import Cost
from holdfast.probes.interactions.game import Game, Span
from holdfast.probes.interactions.noise import MASKS


def outputs_flops(players: Sequence[Span], tokens: int, forward: Cost, *, shared: bool) -> float:
    """Return the FLOPs of the outputs of all masks.

    Args:
        players: Tokens of each player, in order.
        tokens: Of prompt and given answer.
        forward: Of the model.
        shared: Whether masks share what they have in common.
    """
    leaves = 1 << len(players)
    if not shared:
        return float(forward.forward_flops((leaves, tokens), leaves))
    starts = [span.start for span in players]
    ends = [*starts[1:], tokens]
    body = forward.forward.at(starts[0]) if starts[0] else 0
    for level, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        body += (forward.forward.between(end - start, end)) << level
    return float(body + leaves * forward.head_forward)


def noise_flops(players: int, tokens: int, forward: Cost, *, repeats: int) -> float:
    """Return the FLOPs of the masks that are asked again."""
    rows = min(MASKS, 1 << players)
    return float((repeats - 1) * forward.forward_flops((rows, tokens), rows)) if repeats > 1 else 0.0


def game_flops(game: Game, forward: Cost, *, shared: bool, repeats: int = 1) -> float:
    """Return the FLOPs of measuring one game; a target of several tokens meets the head as often."""
    tokens, n = len(game.ids), len(game.players)
    more = (len(game.target_ids) - 1) * forward.head_forward * (game.masks + MASKS * (repeats - 1))
    own = outputs_flops(game.players, tokens, forward, shared=shared)
    return own + noise_flops(n, tokens, forward, repeats=repeats) + more
