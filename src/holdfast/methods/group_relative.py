"""GRPO carried out; see `holdfast.methods.grpo.GRPO` for the formula."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from holdfast.methods.grpo import GRPO
from holdfast.methods.on_policy import Lesson, OnPolicy, PolicyTotals, Reals, Scores, clipped, for_model
from holdfast.methods.play import Played
from holdfast.train.method import Batch, MicroLoss


def group_relative(rewards: Sequence[float], *, scale: bool) -> list[float]:
    """Return each reward less the mean of all, over their standard deviation if ``scale``; zeros if all are equal.

    Example:
        >>> group_relative([1.0, 0.0, 0.0, 1.0], scale=True)
        [1.0, -1.0, -1.0, 1.0]
    """
    mean, spread = statistics.fmean(rewards), statistics.pstdev(rewards)
    if spread == 0:
        return [0.0 for _ in rewards]
    return [(reward - mean) / (spread if scale else 1.0) for reward in rewards]


@dataclass
class GroupRelative(OnPolicy):
    """See the module.

    Attributes:
        options: Of the recipe's method.
    """

    options: GRPO

    def lessons(self, groups: Sequence[Sequence[Played]], scores: Scores, base: Sequence[Reals]) -> list[Lesson]:
        """Give every token of an episode the episode's advantage."""
        worth = [
            (turn.row, advantage)
            for group in groups
            for one, advantage in zip(
                group,
                group_relative([one.reward for one in group], scale=self.options.scale_rewards == "group"),
                strict=True,
            )
            for turn in one.turns
        ]
        return [
            Lesson(row, old, own, (advantage,) * row.n_learned)
            for (row, advantage), old, own in zip(worth, scores.logp, base, strict=True)
        ]

    @property
    def scores_first(self) -> bool:
        """As its options say."""
        return self.options.scores_first

    def teaches(self, lesson: Lesson) -> bool:
        """Whether its advantage is not 0, or a KL holds it to the base."""
        return bool(self.options.beta) or any(lesson.advantage)

    def token_loss(self, batch: Batch, totals: PolicyTotals) -> MicroLoss:
        """Return the clipped surrogate with its KL, divided as ``loss_type`` says."""
        found = self.setting.engine.logp(for_model(batch))
        high = self.options.epsilon if self.options.epsilon_high is None else self.options.epsilon_high
        surrogate = clipped(
            found.logp_BT,
            batch,
            found.counted_BT,
            low=self.options.epsilon,
            high=high,
            old_BT=None if self.scores_first else found.logp_BT.detach(),
        )
        loss_BT = surrogate.loss_BT
        sums: dict[str, Tensor | float] = {}
        if self.options.beta:
            apart_BT = (batch["base_logp"] - found.logp_BT).masked_fill(~found.counted_BT, 0.0)
            kl_BT = apart_BT.exp() - apart_BT - 1
            loss_BT = loss_BT + self.options.beta * kl_BT
            sums["kl"] = kl_BT.detach().sum()
        loss = (loss_BT * self._shares(found.counted_BT.to(loss_BT.dtype), totals)).sum()
        # A micro-batch without a counted token is 0 and keeps its graph.
        return MicroLoss(
            loss + found.logp_BT.sum() * 0.0,
            {
                **sums,
                "loss": loss.detach(),
                "target_tokens": int(found.counted_BT.sum()),
                "clipped": surrogate.bound_BT.sum(),
                "drift": -surrogate.delta_BT.sum(),
            },
        )

    def _shares(self, counted_BT: Tensor, totals: PolicyTotals) -> Tensor:
        match self.options.loss_type:
            case "dapo":
                return counted_BT / totals.tokens
            case "grpo":
                return counted_BT / counted_BT.sum(1, keepdim=True).clamp(min=1) / totals.rows
            case _:
                return counted_BT / (totals.rows * self.options.max_new_tokens)
