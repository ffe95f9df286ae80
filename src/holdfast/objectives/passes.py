"""Which forward passes an objective asks for beside the step's own, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.objectives.base import OF_THE_BASE, Objective

if TYPE_CHECKING:
    from holdfast.models.cost import Cost


def asks_base(objective: Objective) -> bool:
    """Whether the untrained model has to be there."""
    return bool(objective.needs & OF_THE_BASE)


def asks_old(objective: Objective) -> bool:
    """Whether the policy of some steps ago is asked."""
    return "old_logp" in objective.needs


def priced(own: Cost, objective: Objective, *, forward: Callable[[], Cost]) -> Cost:
    """Return the cost of a step with the passes that its objective adds.

    Args:
        own: What the model costs with the weights that learn.
        objective: Of the run.
        forward: Gives what the model costs with none that learn: a forward pass. Called only if there is one to add.
    """
    passes = asks_base(objective) + asks_old(objective)
    beside = (forward(),) * passes
    head_again = own.head_forward if "mean_logp" in objective.needs else 0
    return replace(own, beside=beside, head_again=head_again) if beside or head_again else own
