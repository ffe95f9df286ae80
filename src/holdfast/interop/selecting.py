"""Choose what learns in a model that another trainer will train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from holdfast.models.structure import roles
from holdfast.selection import Selected, parse
from holdfast.selection import select as select_roles
from holdfast.selection.apply import apply


def select(model: nn.Module, spec: str | Mapping[str, Any], *, text_only: bool = False) -> Selected:
    """Set ``requires_grad`` on exactly what ``spec`` names, and return what that is.

    Call it before the trainer is made. Dtypes stay as they are, so load the model in float32: updates of a small
    learning rate are lost in half precision. `holdfast.selection.apply.fingerprint_frozen` and ``verify_frozen`` prove
    afterwards that the rest did not move.

    Args:
        model: A Hugging Face language model.
        spec: As a recipe's ``trainable``: ``"attention"``, ``{"roles": ["mlp"], "layers": "first:8"}``, …
        text_only: The training data has no images; see `holdfast.selection.select`.

    Raises:
        UnknownName: no such preset, role or key.
        UnknownRole: a module of the model cannot be told apart.
        SelectionError: nothing is selected, or a pattern matches nothing.

    Example:
        >>> print(select(model, "attention").n_parameters)                        # doctest: +SKIP
    """
    selected = select_roles(roles(model), parse(spec), text_only=text_only)
    apply(model, selected)
    return selected
