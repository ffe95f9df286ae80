"""Angles between the leading singular subspaces of a matrix of the base and of the model as it is.

Shapes: ``M`` rows, ``N`` columns.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.probes.scene import Scene
from holdfast.spectral.cache import FactorCache, default_folder
from holdfast.spectral.counts import count_of
from holdfast.spectral.factors import EXACT_BELOW
from holdfast.spectral.rotation import exact_rotation
from holdfast.spectral.update import Update


class Turned(NamedTuple):
    """Root mean square angles in degrees."""

    left: float
    right: float


def matrices(scene: Scene) -> list[str]:
    """Return the names of the matrices that training changes, in the model's order, without embeddings and head."""
    ends = {
        id(part.weight)
        for part in (scene.model.get_input_embeddings(), scene.model.get_output_embeddings())
        if part is not None
    }
    named = dict(scene.model.named_parameters(remove_duplicate=False))
    changing = set(scene.stage.changing)
    return [name for name, weight in named.items() if name in changing and weight.ndim == 2 and id(weight) not in ends]


def angles(scene: Scene, name: str, k: float | int) -> Turned:
    """Return how far the first ``k`` directions of one matrix turned on either side."""
    assert scene.stage.base_weight is not None
    now_MN = scene.model.get_parameter(name).detach()
    base_MN = scene.stage.base_weight(name).to(now_MN.device, now_MN.dtype)
    cache: FactorCache = scene.stage.once("factors", lambda: FactorCache(default_folder()))
    update = Update(base_MN, now_MN, factors=lambda: cache.factors(base_MN))
    if not update.energy:
        return Turned(0.0, 0.0)
    rotation = exact_rotation(update, slice(0, count_of(k, update.rank)))
    return Turned(rotation.left.rms, rotation.right.rms)


def flops_of(scene: Scene, name: str, k: float | int) -> float:
    """Return about the FLOPs of `angles`: two factorizations (Golub and Van Loan's counts) and products with them."""
    rows, columns = scene.model.get_parameter(name).shape
    small, large = min(rows, columns), max(rows, columns)
    exact = 6 * large * small**2 + 20 * small**3
    factors = exact if small <= EXACT_BELOW else 2 * large * small**2 + 9 * small**3
    return float(2 * factors + 8 * rows * columns * count_of(k, small))
