"""Whether a run's rows share prefixes: what its recipe asks, and what its model allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.errors import UserError
from holdfast.recipe import Recipe

if TYPE_CHECKING:
    from holdfast.data.batches import SharePrefixes


def share_prefixes(recipe: Recipe, model: Any, *, pictured: bool = False) -> SharePrefixes:
    """Return the recipe's choice, or ``never`` where ``auto`` meets a model that cannot share prefixes exactly.

    Args:
        recipe: Says ``auto``, ``always`` or ``never``.
        model: As loaded, or its structure on the meta device.
        pictured: Whether the rows have pictures; such rows are never shared.

    Raises:
        UserError: ``always``, and it cannot.
    """
    from holdfast.models.shareable import why_not

    if recipe.share_prefixes == "never":
        return "never"
    reason: str | None
    if pictured:
        reason = "is to learn from rows with pictures, which share no prefix"
    elif recipe.gradient_checkpointing:
        reason = "keeps no keys and values for a second pass under gradient_checkpointing"
    else:
        reason = why_not(model, training=True, max_length=recipe.max_length)
    if reason is None:
        return recipe.share_prefixes
    refuse(recipe, model, reason)
    return "never"


def refuse(recipe: Recipe, model: Any, reason: str) -> None:
    """Raise if the recipe insists on what cannot be.

    Raises:
        UserError: ``share_prefixes: always``.
    """
    if recipe.share_prefixes == "always":
        raise UserError(f"share_prefixes: always, but {type(model).__name__} {reason}. Write share_prefixes: auto")
