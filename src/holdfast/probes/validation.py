"""How well the model foretells rows that it does not learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_place, check_rows
from holdfast.signals.reading import VALIDATION_NLL

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class Validation:
    """Mean negative log-likelihood of the target tokens of held-out rows, teacher-forced, in nats.

    Signals: ``{signal: patience, reads: validation_nll, mode: min}`` (Prechelt 1998), or ``behind`` for his GL.

    Evidence: the standard. It speaks of the distribution of training: Jin et al. 2025 (arXiv 2509.12235) find that the
    checkpoint best out of distribution cannot be told from training or test loss. Success may rise while NLL does.

    Cost: one forward pass over the rows, shared with ``gap`` and ``entropy`` where they ask about the same.

    Args:
        rows: Held-out rows: of the environment's validation split, of a file, or of a suite; see
            `holdfast.probes.rows`.
        path: A file of rows.
        suite: A suite of the recipe. It is split into halves if a signal reads the result.
    """

    rows: int = 64
    path: str | None = None
    suite: str | None = None

    readings: ClassVar[tuple[str, ...]] = (VALIDATION_NLL,)
    needs: ClassVar[frozenset[Need]] = frozenset({"held_out"})

    def __post_init__(self) -> None:
        check_rows(self.rows)
        check_place(self.path, self.suite)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of one forward pass."""
        return scene.pass_flops(scene.held_out(self.rows, path=self.path, suite=self.suite))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the mean NLL."""
        return {VALIDATION_NLL: scene.read(scene.held_out(self.rows, path=self.path, suite=self.suite)).nll}
