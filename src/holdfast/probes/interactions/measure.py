"""One model's interactions on some prompts: outputs, noise, split; plain arrays that can be kept as JSON.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets of n players.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from holdfast.probes.interactions.game import Game
from holdfast.probes.interactions.masking import Blank
from holdfast.probes.interactions.noise import noise_tokens, numeric_noise, rounding
from holdfast.probes.interactions.outputs import naive_tokens, reading, shared_tokens
from holdfast.probes.interactions.salience import Signs, salient, thresholds
from holdfast.probes.interactions.split import TIE, TOLERANCE, split, tolerance
from holdfast.probes.interactions.transforms import Array, players_of

HALF = (torch.float16, torch.bfloat16)
DIGITS = 7
"""Significant digits in JSON; a Möbius coefficient of order 8 adds up 256 outputs."""


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        keys: Names of the prompts.
        values_PM: Outputs of all masks, log-odds.
        interactions_P2M: AND, then OR.
        noise_P: Standard deviation of an output that is not the model's doing; 0 where it was not measured.
        gap_P: Relative optimality gap of each split.
        residual_P: What each split leaves unexplained at most.
        tokens: That the model read.
    """

    keys: tuple[str, ...]
    values_PM: Array
    interactions_P2M: Array
    noise_P: Array
    gap_P: Array
    residual_P: Array
    tokens: int

    @property
    def players(self) -> int:
        """n."""
        return players_of(self.values_PM)

    def thresholds(self) -> Array:
        """Return τ of each interaction, (P, 2, M), as this measurement sets it."""
        return thresholds(self.interactions_P2M, self.noise_P)

    def salient(self) -> Signs:
        """Return which interactions count by this measurement's own threshold."""
        return salient(self.interactions_P2M, self.thresholds())

    def scaled(self) -> Measured:
        """Return the same in units of the outputs' own spread (root mean square over masks).

        Fine-tuning makes a model surer, and every interaction with it larger; in these units that does not count as
        change. |v(N) − v(∅)| would be the other unit, but it passes through 0.
        """
        spread_P = np.sqrt(((self.values_PM - self.values_PM.mean(1, keepdims=True)) ** 2).mean(1))
        unit_P = np.where(spread_P > 0, spread_P, 1.0)
        return Measured(
            keys=self.keys,
            values_PM=self.values_PM / unit_P[:, None],
            interactions_P2M=self.interactions_P2M / unit_P[:, None, None],
            noise_P=self.noise_P / unit_P,
            gap_P=self.gap_P,
            residual_P=self.residual_P / unit_P,
            tokens=self.tokens,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values. Outputs and interactions are rounded to `DIGITS`."""
        return {
            "keys": list(self.keys),
            "values": _rounded(self.values_PM),
            "and": _rounded(self.interactions_P2M[:, 0]),
            "or": _rounded(self.interactions_P2M[:, 1]),
            "noise": _rounded(self.noise_P),
            "gap": _rounded(self.gap_P),
            "residual": _rounded(self.residual_P),
            "tokens": self.tokens,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Measured:
        """Inverse of `to_json`, but for rounding."""
        return Measured(
            keys=tuple(row["keys"]),
            values_PM=np.array(row["values"], dtype=np.float64),
            interactions_P2M=np.stack([np.array(row[kind], dtype=np.float64) for kind in ("and", "or")], axis=1),
            noise_P=np.array(row["noise"], dtype=np.float64),
            gap_P=np.array(row["gap"], dtype=np.float64),
            residual_P=np.array(row["residual"], dtype=np.float64),
            tokens=row["tokens"],
        )


def measure(
    model: Any,
    games: Sequence[Game],
    blank: Blank,
    *,
    repeats: int = 3,
    share: float = TOLERANCE,
    tie: float = TIE,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Measured:
    """Ask a model for the outputs of all games and part them into interactions.

    Args:
        model: A causal language model, on any device; left as it was.
        games: Of as many players each.
        blank: What stands in the place of masked words, made from the base.
        repeats: Computations by which noise is told (`numeric_noise`); 1 measures none and takes it for 0.
        share: q of the split's tolerance.
        tie: See `holdfast.probes.interactions.split.TIE`.
        dtype: In which the model computes.
        seed: Of the masks that are asked again.

    Raises:
        DataError: the games cannot be asked (`holdfast.probes.interactions.outputs.reading`).
        ValueError: there are no games, or they have different numbers of players.
    """
    if len({len(game.players) for game in games}) != 1:
        raise ValueError(f"games of one measurement have as many players each, got {[len(g.players) for g in games]}")
    values, noise, tokens = [], [], 0
    with reading(model, blank, games, dtype=dtype) as reader:
        for game in games:
            found = reader.all_masks(game)
            values.append(found.values_M)
            tokens += found.tokens
            if repeats > 1:
                noise.append(numeric_noise(reader, game, found.values_M, repeats=repeats, seed=seed))
                tokens += noise_tokens(game, repeats=repeats)
    values_PM = np.array(values)
    noise_P = np.array(noise) if noise else np.zeros(len(games))
    if noise and dtype in HALF:
        with reading(model, blank, games, share=False) as exact:
            rounded = [rounding(exact, game, own_M, seed=seed) for game, own_M in zip(games, values_PM, strict=True)]
        noise_P = np.maximum(noise_P, rounded)
        tokens += sum(noise_tokens(game, repeats=2) for game in games)
    parted = split(values_PM, tolerance(values_PM, share=share, noise_P=noise_P), tie=tie)
    return Measured(
        keys=tuple(game.question.key for game in games),
        values_PM=values_PM,
        interactions_P2M=np.stack([parted.and_PM, parted.or_PM], axis=1),
        noise_P=noise_P,
        gap_P=parted.gap_P,
        residual_P=parted.residual_P,
        tokens=tokens,
    )


def tokens_at_most(games: Sequence[Game], *, repeats: int, shared: bool) -> int:
    """Return how many tokens `measure` in float32 has a model read, told from the games alone.

    Args:
        games: As in `measure`.
        repeats: As in `measure`.
        shared: Whether the model may share what masks have in common; if it is not known, False is the bound.
    """
    own = sum(shared_tokens(game) if shared else naive_tokens(game) for game in games)
    return own + sum(noise_tokens(game, repeats=repeats) for game in games if repeats > 1)


def _rounded(values: Array) -> Any:
    return [_rounded(row) for row in values] if values.ndim > 1 else [float(f"{value:.{DIGITS}g}") for value in values]
