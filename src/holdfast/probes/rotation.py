"""How far the leading singular directions of what training changes have turned since the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_rows
from holdfast.signals.reading import ROTATION_LEFT, ROTATION_RIGHT
from holdfast.spectral.counts import check_share

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class Rotation:
    """Root mean square principal angle, in degrees, between the base's first k directions and the model's.

        θ of U₀ and U_t on the left side (outputs of a linear layer), of V₀ and V_t on the right  (spectral.rotation)

    Over some of the matrices that training changes, evenly spaced, embeddings and head left out; the mean over them.
    Signal: ``{signal: drift, reads: rotation_left, by: 5}``, a budget.

    Evidence: Jin et al. 2025 (arXiv 2509.12235) see success out of distribution fall with the rotation of singular
    vectors while singular values stay; few models and tasks, full fine-tuning. Any small update turns directions whose
    singular values are near each other, so compare with the relative update (``update_norm``) first.

    Cost: a symmetric eigenproblem (of small matrices an SVD) for each matrix at each moment; the base's factors are
    found in the cache of `holdfast.spectral.cache`.

    Args:
        k: Directions: a share of a matrix's smaller side in (0, 1], or a number of them.
        matrices: How many are looked at, at most.
    """

    k: float | int = 0.2
    matrices: int = 8

    readings: ClassVar[tuple[str, ...]] = (ROTATION_LEFT, ROTATION_RIGHT)
    needs: ClassVar[frozenset[Need]] = frozenset({"base_weights"})

    def __post_init__(self) -> None:
        check_share("k", self.k)
        check_rows(self.matrices, name="matrices")

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of factorizing base and model."""
        from holdfast.probes.turned import flops_of

        return sum(flops_of(scene, name, self.k) for name in self._names(scene))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the mean angles of both sides; None where there is no matrix to look at."""
        from holdfast.probes.turned import angles

        names = self._names(scene)
        scene.spend(self.cost(scene))
        found = [angles(scene, name, self.k) for name in names]
        if not found:
            return dict.fromkeys(self.readings)
        left, right = (sum(one[side] for one in found) / len(found) for side in (0, 1))
        return {ROTATION_LEFT: left, ROTATION_RIGHT: right}

    def _names(self, scene: Scene) -> list[str]:
        from holdfast.probes.rows import evenly
        from holdfast.probes.turned import matrices

        names = matrices(scene)
        return [names[place] for place in evenly(len(names), self.matrices)] if names else []
