"""The structure of a model with adapters (``lora``): what its selection adapts, and what then learns."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.plan.in_common import Learning
from holdfast.recipe import Recipe
from holdfast.selection import Selected
from holdfast.selection.adapted import adapted, check_adaptable

if TYPE_CHECKING:
    from holdfast.models.roles import ParameterRole


def adapted_learning(
    recipe: Recipe, plain: Any, parameters: Sequence[ParameterRole], *, selected: Selected
) -> Learning:
    """Return the model with adapters beside all that ``selected`` has of linear layers.

    Args:
        recipe: With ``lora``.
        plain: Structure of the plain model, on the meta device; it stays as it is.
        parameters: Its parameters.
        selected: What ``trainable`` selects of them.

    Raises:
        SelectionError: that is no weight of a linear layer.
        ModelError: PEFT cannot adapt it.
    """
    from holdfast.models.adapters import adapt, linear_weights
    from holdfast.models.structure import roles

    assert recipe.lora is not None
    chosen = set(selected.names)
    linear = linear_weights(plain, [parameter for parameter in parameters if parameter.name in chosen])
    check_adaptable(selected, linear)
    model = copy.deepcopy(plain)
    adapt(model, linear, lora=recipe.lora, seed=recipe.seed)
    learns = adapted(selected, parameters, with_adapters=roles(model), linear=linear)
    return Learning(model, learns, linear)
