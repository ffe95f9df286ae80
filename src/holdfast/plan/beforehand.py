"""What a run spends before its first step: on answers that the untrained model draws, and on what it says of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.members import build
from holdfast.recipe import Recipe

if TYPE_CHECKING:
    from holdfast.data.sources import Source
    from holdfast.plan.in_common import Common
    from holdfast.train.budget import Spent

ROWS_READ = 256
"""Demonstrations whose mean length stands for that of drawn answers."""


@dataclass(frozen=True)
class Beforehand:
    """What comes before the first step.

    Attributes:
        problems, samples: Answers are drawn to so many problems, so many each; 0 where none are.
        spent: On all of it. Drawn answers count as being as long as demonstrations.
        replayed: Questions that the base is asked for replay, a problem of several turns counted once.
    """

    problems: int
    samples: int
    spent: Spent
    replayed: int = 0


def beforehand(shared: Common, recipe: Recipe, steps: int, *, num_processes: int) -> Beforehand:
    """Return what a run of ``steps`` steps spends before the first.

    Args:
        shared: Of the plan.
        recipe: Its method may draw answers, and may ask the base about rows that are compared.
        steps: Of the run.
        num_processes: See `holdfast.plan.plan`.
    """
    from holdfast.data.replayed import Replayed
    from holdfast.methods import METHODS, draws, rows_each
    from holdfast.methods.preference import asked_steps
    from holdfast.train.budget import Spent

    options = build("method", recipe.method, METHODS, allow_code=shared.allow_code)
    source, spent, problems, samples, replayed = shared.source(recipe), Spent(), 0, 0, 0
    main = source.main if isinstance(source, Replayed) else source
    if draws(options) and recipe.data.path is None:
        problems, samples = options.problems, options.samples
        each = rows_each(options)
        spent = spent.plus(_answered(shared, recipe, main, problems=problems, samples=samples, rows_each=each))
    replay = recipe.data.replay
    if isinstance(source, Replayed) and replay is not None and replay.answers == "base":
        replayed = min(replay.size, len(source.other.starts))
        spent = spent.plus(_answered(shared, recipe, source.other, problems=replayed, samples=1, rows_each=1))
    if rows_each(options) == 2:
        per_step = shared.rows_per_step(recipe, num_processes=num_processes)
        asked = asked_steps(steps, rows=len(source), rows_per_step=per_step)
        mean = shared.survey(recipe, asked, names=(), num_processes=num_processes).mean
        # A survey of nothing that learns counts 6 N a token where a forward pass is 2 N.
        spent = spent.plus({"flops": mean.flops * asked, "flops_6nd": mean.flops_6nd * asked / 3})
    return Beforehand(problems, samples, spent, replayed)


def _answered(
    shared: Common, recipe: Recipe, source: Source, *, problems: int, samples: int, rows_each: int
) -> dict[str, float]:
    """Return what ``samples`` answers to each of ``problems`` problems cost, as the first demonstrations say."""
    from holdfast.methods.price import Size, answering
    from holdfast.models.cost import Cost

    count = min(len(source.starts), problems, ROWS_READ)
    ends = (*source.starts, len(source))
    rows = source.take(range(0, ends[count], rows_each))
    price = shared.price(recipe, ())
    assert isinstance(price, Cost)
    read = answering(price, [Size(row.n_prompt, row.n_learned) for row in rows])
    return {name: amount * samples * problems / count for name, amount in read.items()}
