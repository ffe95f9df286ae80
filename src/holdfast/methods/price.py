"""What answering and scoring cost, beside the steps that learn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.models.cost import Cost

Amounts = Mapping[str, float]
"""By the names of `holdfast.train.budget.Spent`."""


class Size(NamedTuple):
    """Tokens of a prompt and of its reply."""

    prompt: int
    reply: int


def answering(cost: Cost, sizes: Sequence[Size]) -> dict[str, float]:
    """Return what writing these replies costs: exact FLOPs of a cached generation, and 2·N·D of prompts and replies."""
    tokens = sum(size.prompt + size.reply for size in sizes)
    return {
        "flops": sum(cost.generation_flops(size.prompt, size.reply) for size in sizes),
        "flops_6nd": 2 * cost.active_weights * tokens,
        "generated_tokens": sum(size.reply for size in sizes),
    }


def scoring(cost: Cost, sizes: Sequence[Size], *, passes: int) -> dict[str, float]:
    """Return what ``passes`` forward passes over prompts with their replies cost."""
    tokens = sum(size.prompt + size.reply for size in sizes)
    each = sum(cost.forward_flops((1, size.prompt + size.reply), size.reply) for size in sizes)
    return {"flops": passes * each, "flops_6nd": passes * 2 * cost.active_weights * tokens}


def added(*amounts: Amounts) -> dict[str, float]:
    """Return the sum of amounts, name by name."""
    names = dict.fromkeys(name for one in amounts for name in one)
    return {name: sum(one.get(name, 0) for one in amounts) for name in names}


@dataclass(frozen=True)
class PlayPrice:
    """What a mean step of a method that plays costs, if its replies are as long as demonstrations.

    Attributes:
        cost: Of the model.
        scorings: Forward passes over each reply before it is learned from.
        passes: Over each rollout; its cost is spread over their steps.
    """

    cost: Cost
    scorings: int
    passes: int

    def spent(self, batches: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """Return the step's spending; see `holdfast.models.cost.Cost.spent`."""
        sizes = [size for batch in batches for size in _sizes(batch)]
        played = added(answering(self.cost, sizes), scoring(self.cost, sizes, passes=self.scorings))
        return added(self.cost.spent(batches), {name: amount / self.passes for name, amount in played.items()})


def _sizes(batch: Mapping[str, Tensor]) -> list[Size]:
    learned_B = (batch["labels"][:, 1:] >= 0).sum(1).tolist()
    whole_B = batch["attention_mask"].sum(1).tolist()
    return [Size(whole - learned, learned) for whole, learned in zip(whole_B, learned_B, strict=True)]
