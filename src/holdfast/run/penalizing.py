"""The penalty on the update that a recipe asks for, put beside its method's loss."""

from __future__ import annotations

from holdfast.objectives.subspace_penalty import penalty_on
from holdfast.run.methods import Start
from holdfast.spectral.cache import FactorCache, default_folder
from holdfast.train.method import Method
from holdfast.train.penalized import Penalized


def with_penalty(start: Start, method: Method) -> Method:
    """Return the method, penalized where the recipe says so.

    Call it before a checkpoint is restored: the base is the model as it is now.

    Args:
        start: Its model is on its device.
        method: What the run trains by.

    Raises:
        ModelError: a matrix has no directions, or nothing is relative to it.
    """
    asked, planned = start.recipe.penalty, start.planned.penalty
    if asked is None or planned is None:
        return method
    with start.ranks.together():
        penalty = penalty_on(start.loaded.model, planned.names, asked, cache=FactorCache(default_folder()))
    return Penalized(method, penalty, start.ranks)
