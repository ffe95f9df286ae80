"""How many predictions on the rows of training changed since the moment before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_rows
from holdfast.signals.reading import PREDICTION_FLIPS

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class LabelWave:
    """The share of target tokens of rows of training whose likeliest token is another one than a moment ago.

    Unknown at the first moment. It is a rate between moments, so moments must be evenly spaced to be compared
    (``evaluate_at: {every: N}``). Signal: ``{signal: turn, reads: prediction_flips, window: 3}``, the first local
    minimum of the moving average.

    Evidence: Yuan, Feng and Liu 2025 (ICLR, arXiv 2502.07551): in image classification with noisy labels the changes
    of predictions are fewest just before mislabeled examples are fitted. Here a prediction is a token, teacher-forced,
    where theirs is an example's class, and moments stand for epochs; nobody has tried it on language models before.

    Cost: one forward pass over the rows.

    Args:
        rows: Of training, evenly spaced.
    """

    rows: int = 64

    readings: ClassVar[tuple[str, ...]] = (PREDICTION_FLIPS,)
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __post_init__(self) -> None:
        check_rows(self.rows)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of one forward pass."""
        return scene.pass_flops(scene.training(self.rows))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the share of changed predictions, and keep these for the next moment."""
        from holdfast.rollout.forced import argmax_replies

        stage = scene.stage
        said = argmax_replies(
            scene.model,
            stage.speaker,
            scene.training(self.rows).encoded,
            batch_size=stage.recipe.per_device_eval_batch_size,
            compute_dtype=stage.compute_dtype,
            share="never",
            ranks=stage.ranks,
        )
        scene.spend(self.cost(scene))
        now = [token for row in said for token in row]
        scene.keep(now)
        if not scene.past or not now:
            return {PREDICTION_FLIPS: None}
        return {PREDICTION_FLIPS: sum(a != b for a, b in zip(scene.past[-1], now, strict=True)) / len(now)}
