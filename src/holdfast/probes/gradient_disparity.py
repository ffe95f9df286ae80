"""How much the gradients of parts of the training rows disagree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_rows
from holdfast.signals.reading import GRADIENT_COSINE, GRADIENT_DISPARITY, GRADIENT_DISPARITY_RELATIVE

if TYPE_CHECKING:
    from holdfast.probes.rows import Rows
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class GradientDisparity:
    """Distance between the gradients of parts of some rows of training, over what training changes.

        gradient_disparity          = mean_{i<j} ‖g_i − g_j‖
        gradient_disparity_relative = mean_{i<j} ‖g_i − g_j‖ / sqrt(‖g_i‖² + ‖g_j‖²)       1 of unrelated ones
        gradient_cosine             = mean_{i<j} ⟨g_i, g_j⟩ / (‖g_i‖ ‖g_j‖)

    g_i is the gradient of the mean NLL of part i, whatever the objective, in eval mode, at the weights as exported; of
    adapters it is that of the merged matrices. Signal: ``{signal: rises, reads: gradient_disparity, times: 5}``.

    Evidence: Forouzesh and Thiran 2021 (arXiv 2107.06665): it bounds how differently two batches generalize, and in
    image classifiers it follows the generalization gap and the level of label noise. They stop after five rises and
    rescale losses by their deviation within a batch; the relative form is ours, and does not shrink as the loss does.

    Cost: forward and backward over the rows once, and memory for as many gradients as there are parts.

    Args:
        rows: Of training, evenly spaced; every part is evenly spaced too.
        parts: How many they are parted into, at least 2.
    """

    rows: int = 32
    parts: int = 4

    readings: ClassVar[tuple[str, ...]] = (GRADIENT_DISPARITY, GRADIENT_DISPARITY_RELATIVE, GRADIENT_COSINE)
    needs: ClassVar[frozenset[Need]] = frozenset({"gradients"})

    def __post_init__(self) -> None:
        check_rows(self.parts, least=2, name="parts")
        check_rows(self.rows, least=self.parts)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of forward and backward over the rows."""
        return sum(scene.gradient_flops(part) for part in self._parts(scene))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return distance, relative distance and cosine, each a mean over pairs of parts."""
        from holdfast.probes.gradients import gram

        parts = self._parts(scene)
        products = gram(scene, parts)
        scene.spend(self.cost(scene))
        distances, relative, cosines = [], [], []
        for i, j in itertools.combinations(range(len(parts)), 2):
            both = products[i][i] + products[j][j]
            distance = math.sqrt(max(0.0, both - 2 * products[i][j]))
            distances.append(distance)
            if products[i][i] > 0 and products[j][j] > 0:
                relative.append(distance / math.sqrt(both))
                cosines.append(products[i][j] / math.sqrt(products[i][i] * products[j][j]))
        return {
            GRADIENT_DISPARITY: _mean(distances),
            GRADIENT_DISPARITY_RELATIVE: _mean(relative),
            GRADIENT_COSINE: _mean(cosines),
        }

    def _parts(self, scene: Scene) -> list[Rows]:
        from holdfast.probes.rows import Rows

        rows = scene.training(self.rows).encoded
        count = min(self.parts, len(rows))
        return scene.stage.once(self, lambda: [Rows(rows[at::count]) for at in range(count)])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
