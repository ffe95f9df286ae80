"""What the steps of a run spend, read from the very batches that it will train on; and how many steps a budget buys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.recipe import Recipe

if TYPE_CHECKING:
    from holdfast.data.batches import Batch, Batches
    from holdfast.methods.price import PlayPrice
    from holdfast.models.cost import Cost
    from holdfast.train.budget import Spent

ROWS_READ = 32_768
"""Rows that a plan reads at most: a run of no more is planned exactly, a longer one from steps evenly spaced over it.
A mean over that many rows is within a tenth of a percent of the run's for hands of cards, and within about two percent
for routes, whose rows come in runs of similar length."""


@dataclass(frozen=True)
class Survey:
    """What the steps of one run spend.

    Attributes:
        total: Steps of the run.
        read: Steps whose batches were read: all of them, or evenly spaced ones.
        largest: Positions of the largest micro-batch: what activations are planned for.
        mean: What a step spends on average.
    """

    total: int
    read: int
    largest: int
    mean: Spent


def survey(batches: Sequence[Batches], total: int, *, price: Cost | PlayPrice, beside: int = 0) -> Survey:
    """Read the steps of a run, or at most `ROWS_READ` rows' worth of them, evenly spaced; keeps none in memory.

    Args:
        batches: Of each process of the run.
        total: Steps of the run; of none the first is read, to price it.
        price: What the model costs.
        beside: FLOPs of a step, over all processes, that do not depend on its rows.
    """
    from holdfast.data.order import epoch_length
    from holdfast.train.budget import Spent

    rows, size = batches[0].rows_per_step, epoch_length(batches[0].source)
    count = max(1, min(total, ROWS_READ // rows))
    spent, largest = Spent(), 0
    for place in range(count):
        first = (place * total // count) * rows
        step: list[Batch] = []
        for one in batches:
            one.seek({"epoch": first // size, "index": first % size})
            step += one.next_step()
        largest = max(largest, *(batch.n_computed for batch in step))
        spent = spent.plus(price.spent([batch.token_tensors() for batch in step])).plus({"flops": beside})
    mean = Spent(**{name: value / count for name, value in spent.to_json().items()})
    return Survey(total, count, largest, mean)


def reference_steps(recipe: Recipe, *, rows: int, rows_per_step: int) -> int:
    """Return the optimizer steps of the run that fixes the budget.

    Args:
        recipe: Its ``budget`` names steps or epochs.
        rows: Of an epoch.
        rows_per_step: Over all processes.
    """
    if recipe.budget.steps is not None:
        return recipe.budget.steps
    assert recipe.budget.epochs is not None
    return max(1, math.ceil(recipe.budget.epochs * rows / rows_per_step))
