"""How undecided the model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_place, check_rows
from holdfast.signals.reading import PREDICTION_ENTROPY

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class Entropy:
    """Mean entropy of the model's distribution at the target tokens of held-out rows, teacher-forced, in nats.

        prediction_entropy = − mean_n Σ_v p_v log p_v

    Signal: ``{signal: drift, reads: prediction_entropy, by: 0.5, mode: down, relative: true}``.

    Evidence: a practitioner's; a model that is sure everywhere has nothing left to explore (*RL-readiness*) and answers
    alike under every rule. It falls in any fine-tuning that learns, so it says when much was spent, not when too much.

    Cost: one forward pass over the rows, shared with ``validation`` and ``gap`` where they ask about the same.

    Args:
        rows, path, suite: As in `holdfast.probes.validation.Validation`.
    """

    rows: int = 64
    path: str | None = None
    suite: str | None = None

    readings: ClassVar[tuple[str, ...]] = (PREDICTION_ENTROPY,)
    needs: ClassVar[frozenset[Need]] = frozenset({"held_out"})

    def __post_init__(self) -> None:
        check_rows(self.rows)
        check_place(self.path, self.suite)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of one forward pass."""
        return scene.pass_flops(scene.held_out(self.rows, path=self.path, suite=self.suite))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the mean entropy."""
        rows = scene.held_out(self.rows, path=self.path, suite=self.suite)
        return {PREDICTION_ENTROPY: scene.read(rows).entropy}
