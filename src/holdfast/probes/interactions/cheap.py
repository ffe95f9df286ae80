"""What words say together, in two numbers, for a fraction of the cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.interactions.asking import Asking

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene

EVIDENCE, HIGH_ORDER = "words_evidence", "words_high_order"


@dataclass(frozen=True)
class InteractionsCheap:
    """Two numbers of a moment alone: no templates, no noise, nothing kept.

        words_evidence   |v(N) − v(∅)| / ‖I‖₁: what the words say in the end, as a share of all they say
        words_high_order share of strength in interactions of more than two thirds of the players

    Both are means over prompts, half of them training rows and half held-out ones. Signals: ``{signal: patience, reads:
    words_evidence}``, or ``{signal: rises, reads: words_high_order}``.

    Evidence: by arXiv 2605.17967 what overfitting adds is of high order and cancels; whether these two tell it without
    the sets that the paper follows is ours to find out.

    Cost: 2^n outputs a prompt; with the defaults about 1 s a moment for the embedded bases on one core.

    Args:
        prompts: How many, at least 2.
        players: Words of each that play.
        path, suite: Where held-out rows come from; see `holdfast.probes.rows`.
    """

    prompts: int = 16
    players: int = 6
    path: str | None = None
    suite: str | None = None

    readings: ClassVar[tuple[str, ...]] = (EVIDENCE, HIGH_ORDER)
    needs: ClassVar[frozenset[Need]] = frozenset({"base", "held_out"})

    def __post_init__(self) -> None:
        _ = self.asking

    @property
    def asking(self) -> Asking:
        """What is asked at every moment."""
        return Asking(self.prompts, self.players, self.path, self.suite)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of all outputs."""
        from holdfast.probes.interactions.scenes import cost

        return cost(self.asking, scene)

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return both means; None where no word moves the output."""
        import numpy as np

        from holdfast.probes.interactions.cancellation import evidence
        from holdfast.probes.interactions.order import high_order_share
        from holdfast.probes.interactions.scenes import measured_in

        found = measured_in(self.asking, scene)
        of_each = {
            EVIDENCE: evidence(found.values_PM, found.interactions_P2M),
            HIGH_ORDER: high_order_share(found.interactions_P2M),
        }
        return {name: float(np.nanmean(v)) if np.isfinite(v).any() else None for name, v in of_each.items()}
