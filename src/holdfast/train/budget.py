"""What a run spends, counted four ways, and how many steps make two runs spend the same.

========== ==================== =========================================================================
match      field of `Spent`     meaning
========== ==================== =========================================================================
steps      steps                optimizer steps
flops      flops                every matrix product as computed (`holdfast.models.cost`)
6nd        flops_6nd            6 · N · D, all active weights N and tokens D: what Chu et al. 2025 count
trainable  flops_trainable      6 · N_trainable · D: "fewer parameters, more steps" taken literally
========== ==================== =========================================================================

All are always kept; a recipe chooses the one by which runs are matched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import UserError

Match = Literal["steps", "flops", "6nd", "trainable"]

FIELD: Mapping[Match, str] = {"steps": "steps", "flops": "flops", "6nd": "flops_6nd", "trainable": "flops_trainable"}
"""The field of `Spent` by which each way of matching counts."""


@dataclass(frozen=True)
class Spent:
    """What a run, or one step of it, used. Whole numbers stay exact, however large.

    Attributes:
        steps: Optimizer steps.
        flops, flops_6nd, flops_trainable: Floating point operations, counted as the table above says.
        tokens: Positions computed, prompts and padding included.
        target_tokens: Tokens that were learned.
        examples: Rows of data.
        generated_tokens: Tokens that the model wrote to learn from.
    """

    steps: float = 0
    flops: float = 0
    flops_6nd: float = 0
    flops_trainable: float = 0
    tokens: float = 0
    target_tokens: float = 0
    examples: float = 0
    generated_tokens: float = 0

    def plus(self, more: Mapping[str, float] | Spent) -> Spent:
        """Return the sum; fields that ``more`` does not name stay.

        Raises:
            ValueError: ``more`` names a field that there is not, or a negative amount.
        """
        amounts = more.to_json() if isinstance(more, Spent) else dict(more)
        mine = self.to_json()
        odd = {name: amount for name, amount in amounts.items() if name not in mine or not amount >= 0}
        if odd:
            raise ValueError(f"cannot spend {odd}; fields are {', '.join(mine)}, amounts at least 0")
        return Spent(**{name: value + amounts.get(name, 0) for name, value in mine.items()})

    def less(self, part: Spent) -> Spent:
        """Return what is left beside ``part``."""
        taken = part.to_json()
        return Spent(**{name: value - taken[name] for name, value in self.to_json().items()})

    def to_json(self) -> dict[str, float]:
        """Return plain JSON values, as in `holdfast.records.Record.spent`."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(row: Mapping[str, float]) -> Spent:
        """Inverse of `to_json`."""
        return Spent(**row)


def plan_steps(match: Match, reference: Spent, arm: Spent) -> int:
    """Return how many steps an arm gets so that it spends, under ``match``, what the reference run spends.

    Args:
        match: What is to be equal.
        reference: The whole reference run.
        arm: One step of the arm (the mean step, if steps differ).

    Returns:
        The nearest whole number, at least 1: the totals agree to half a step.

    Raises:
        UserError: the reference or the arm's step spends nothing under ``match``.
        ValueError: ``match`` is unknown.

    Example:
        >>> plan_steps("flops", Spent(steps=100, flops=600), Spent(steps=1, flops=4))
        150
    """
    if match not in FIELD:
        raise ValueError(f"cannot match runs by {match!r}; known: {', '.join(FIELD)}")
    total, each = reference.to_json()[FIELD[match]], arm.to_json()[FIELD[match]]
    if not total > 0 or not each > 0:
        why = "; it counts weights of matrix products, not norms and lookups" if match == "trainable" else ""
        raise UserError(
            f"budget.match: {match}: the reference spends {total:g} in all, one step of this arm {each:g}, so no "
            f"number of steps makes them equal{why}. Match by flops or steps."
        )
    return max(1, round(total / each))
