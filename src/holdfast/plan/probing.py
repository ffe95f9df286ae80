"""What the probes of a recipe will cost at a moment, from the structure of the model and the rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.errors import ModelError
from holdfast.probes.asked import probes_of
from holdfast.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from holdfast.models.cost import Cost
    from holdfast.plan.in_common import Common


def probe_costs(shared: Common, recipe: Recipe) -> dict[str, float]:
    """Return the FLOPs of each probe at the first moment, at most; later ones cost no more.

    Args:
        shared: The model's structure, the rows and the prices.
        recipe: Its probes.

    Raises:
        UserError: there are no rows of a kind that a probe asks about.
    """
    import torch

    from holdfast.data.replayed import Replayed
    from holdfast.methods.price import PlayPrice
    from holdfast.probes.scene import Scene, Stage

    rows, learning, bones = shared.source(recipe), shared.learning(recipe), shared.skeleton(recipe)

    def price(names: Sequence[str]) -> Cost:
        found = shared.price(recipe, names)
        return found.cost if isinstance(found, PlayPrice) else found

    def no_base() -> nn.Module:
        raise ModelError("a plan reads no weights: a probe tells its cost from shapes alone")

    stage = Stage(
        recipe=recipe,
        source=rows.main if isinstance(rows, Replayed) else rows,
        speaker=bones.speaker,
        compute_dtype=torch.float32,
        forward=price(()),
        training=price(learning.selected.names),
        changing=learning.changing,
        load_base=no_base,
        allow_code=shared.allow_code,
    )
    scene = Scene(bones.model, 0, stage)
    probes = probes_of(recipe, allow_code=shared.allow_code)
    return {name: float(probe.cost(scene)) for name, probe in probes.items()}
