"""How far what the model says has moved from what its base says, on the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_rows
from holdfast.signals.reading import KL_FROM_BASE, KL_TO_BASE

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class KL:
    """Mean KL divergence from the base at the target tokens of rows of training, in both directions.

        kl_from_base = mean_n Σ_v p_base · (log p_base − log p)        kl_to_base = mean_n Σ_v p · (log p − log p_base)

    In nats a token, over the whole vocabulary, teacher-forced. A budget of it is a signal: ``{signal: drift, reads:
    kl_from_base, by: 0.05}``. The recipe key ``kl_rows: 64`` is short for this probe.

    Evidence: forgetting grows about quadratically with it, across methods, and better with it than with the distance
    of weights (Shenfeld et al. 2025, *RL's razor*, arXiv 2509.04259). It says how far, not whether that was needed.

    Cost: two forward passes over the rows of the model and of the base, and the base's memory.

    Args:
        rows: Of training, evenly spaced.
    """

    rows: int = 64

    readings: ClassVar[tuple[str, ...]] = (KL_FROM_BASE, KL_TO_BASE)
    needs: ClassVar[frozenset[Need]] = frozenset({"base"})

    def __post_init__(self) -> None:
        check_rows(self.rows)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of four forward passes."""
        return 4 * scene.pass_flops(scene.training(self.rows))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return both directions."""
        from holdfast.probes.base_divergence import BaseDivergence

        scene.spend(self.cost(scene))
        batches = scene.batches(scene.training(self.rows))
        asked = BaseDivergence(scene.model, scene.base, batches, compute_dtype=scene.stage.compute_dtype)
        return dict(asked.read())
