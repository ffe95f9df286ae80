"""PPO carried out; see `holdfast.methods.ppo.PPO` for the formula.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``N`` learned tokens, ``H`` width of the model.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.methods.on_policy import Lesson, OnPolicy, PolicyTotals, Reals, Scores, clipped, for_model
from holdfast.methods.play import Played
from holdfast.methods.ppo import PPO
from holdfast.train.method import Batch, MicroLoss
from holdfast.train.packed import packed, unpacked


class Advantages(NamedTuple):
    """Of each token of an episode, over all of its turns."""

    advantage: list[float]
    returns: list[float]


def generalized_advantages(
    rewards: Sequence[Sequence[float]], values: Sequence[Sequence[float]], *, gamma: float, lam: float
) -> Advantages:
    """Return advantages and returns of an episode's tokens, turn after turn.

    Args:
        rewards, values: Of each token, by turn.
        gamma: Discount from a turn to the next; inside a turn there is none.
        lam: Of the estimator, per token.

    Example:
        >>> generalized_advantages([[0.0, 1.0]], [[0.5, 0.5]], gamma=1.0, lam=1.0)
        Advantages(advantage=[0.5, 0.5], returns=[1.0, 1.0])
    """
    advantages: list[float] = []
    returns: list[float] = []
    ahead, after = 0.0, 0.0
    for turn_rewards, turn_values in zip(reversed(rewards), reversed(values), strict=True):
        discount = gamma
        for reward, value in zip(reversed(turn_rewards), reversed(turn_values), strict=True):
            ahead = reward + discount * after - value + discount * lam * ahead
            advantages.append(ahead)
            returns.append(ahead + value)
            after, discount = value, 1.0
    return Advantages(advantages[::-1], returns[::-1])


class Critic(nn.Module):
    """What a state is worth: a small network in float32 that starts at 0 for every state.

    Args:
        width: H of the states.
        hidden: Of its one hidden layer; 0: none.
        seed: Of its weights.
    """

    def __init__(self, width: int, *, hidden: int, seed: int) -> None:
        super().__init__()
        last = nn.Linear(hidden or width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(last)
        if hidden:
            first = nn.Linear(width, hidden)
            generator = torch.Generator().manual_seed(seed)
            nn.init.normal_(first.weight, std=width**-0.5, generator=generator)
            nn.init.zeros_(first.bias)
            self.layers = nn.Sequential(first, nn.Tanh(), last)

    def forward(self, hidden_NH: Tensor) -> Tensor:
        """Return values, (N,) float32."""
        with torch.autocast(hidden_NH.device.type, enabled=False):
            value_N1: Tensor = self.layers(hidden_NH.float())
        return value_N1[:, 0]


@dataclass
class ActorCritic(OnPolicy):
    """See the module.

    Attributes:
        options: Of the recipe's method.
        critic: On the model's device.
        learning_rate: Of the critic.
        max_grad_norm: Of the critic's gradient; 0: no bound.
    """

    options: PPO
    critic: Critic
    learning_rate: float
    max_grad_norm: float
    _optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self._optimizer = torch.optim.AdamW(self.critic.parameters(), lr=self.learning_rate, weight_decay=0.0)

    @property
    def scores_first(self) -> bool:
        """As its options say."""
        return self.options.scores_first

    def values(self, hidden_NH: Tensor) -> Tensor:
        """Return the critic's values."""
        found: Tensor = self.critic(hidden_NH)
        return found

    def lessons(self, groups: Sequence[Sequence[Played]], scores: Scores, base: Sequence[Reals]) -> list[Lesson]:
        """Give every token its advantage and return, and normalize advantages over the rollout."""
        lessons: list[Lesson] = []
        for one in (one for group in groups for one in group):
            own = slice(len(lessons), len(lessons) + len(one.turns))
            rewards = [
                self._rewards(turn.reward, old, ref)
                for turn, old, ref in zip(one.turns, scores.logp[own], base[own], strict=True)
            ]
            found = generalized_advantages(rewards, scores.value[own], gamma=self.options.gamma, lam=self.options.lam)
            at = 0
            for turn, old, ref, value in zip(one.turns, scores.logp[own], base[own], scores.value[own], strict=True):
                part = slice(at, at + turn.row.n_learned)
                at = part.stop
                lessons.append(
                    Lesson(turn.row, old, ref, tuple(found.advantage[part]), value, tuple(found.returns[part]))
                )
        return _normalized(lessons)

    def token_loss(self, batch: Batch, totals: PolicyTotals) -> MicroLoss:
        """Return the clipped surrogate and the value loss, each a mean over the step's tokens."""
        options, found = self.options, self.setting.engine.states(for_model(batch))
        counted_BT = found.counted_BT
        surrogate = clipped(found.logp_BT, batch, counted_BT, low=options.cliprange, high=options.cliprange)
        shared = options.value_trunk == "shared"
        value_N = self.values(found.hidden_NH if shared else found.hidden_NH.detach())
        old_N, returns_N = batch["old_value"][counted_BT], batch["returns"][counted_BT]
        error_N = (value_N - returns_N).square()
        if options.cliprange_value is not None:
            reach = options.cliprange_value
            near_N = old_N + (value_N - old_N).clamp(-reach, reach)
            error_N = torch.maximum(error_N, (near_N - returns_N).square())
        value_loss = 0.5 * error_N.sum() / totals.tokens
        loss = surrogate.loss_BT.sum() / totals.tokens + options.vf_coef * value_loss
        return MicroLoss(
            loss + found.logp_BT.sum() * 0.0,
            {
                "loss": loss.detach(),
                "target_tokens": int(counted_BT.sum()),
                "clipped": surrogate.bound_BT.sum(),
                "drift": -surrogate.delta_BT.sum(),
                "value_loss": value_loss.detach() * totals.tokens,
            },
        )

    def stepped(self) -> None:
        """Let the critic take the step of the same rows."""
        gradients = [weight.grad for weight in self.critic.parameters() if weight.grad is not None]
        if self.setting.ranks.count > 1:
            for gradient in gradients:
                torch.distributed.all_reduce(gradient, op=torch.distributed.ReduceOp.SUM)
                gradient /= self.setting.ranks.count
        if self.max_grad_norm:
            nn.utils.clip_grad_norm_(self.critic.parameters(), self.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    @property
    def cursor(self) -> Mapping[str, Any]:
        """As of `OnPolicy`, and the critic with its optimizer."""
        moments = self._optimizer.state_dict()["state"]
        state = {f"{place}/{name}": value for place, own in moments.items() for name, value in own.items()}
        return {
            **super().cursor,
            "critic": {name: packed(value) for name, value in self.critic.state_dict().items()},
            "critic_optimizer": {name: packed(value) for name, value in state.items()},
        }

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        super().seek(cursor)
        self.critic.load_state_dict({name: unpacked(stored) for name, stored in cursor["critic"].items()})
        state: dict[int, dict[str, Tensor]] = {}
        for name, stored in cursor["critic_optimizer"].items():
            place, _, key = name.partition("/")
            state.setdefault(int(place), {})[key] = unpacked(stored)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})

    def _rewards(self, reward: float, old: Reals, ref: Reals) -> list[float]:
        """Return the reward of each token of a turn: its own at the end, and the KL to the base everywhere."""
        kl = [a - b for a, b in zip(old, ref, strict=True)] if ref else [0.0] * len(old)
        paid = [-self.options.kl_coef * one for one in kl]
        paid[-1] += reward
        return paid


def _normalized(lessons: Sequence[Lesson]) -> list[Lesson]:
    every = [advantage for lesson in lessons for advantage in lesson.advantage]
    mean, spread = statistics.fmean(every), statistics.pstdev(every)
    return [
        replace(lesson, advantage=tuple((advantage - mean) / (spread + 1e-8) for advantage in lesson.advantage))
        for lesson in lessons
    ]
