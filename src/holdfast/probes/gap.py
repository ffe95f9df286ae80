"""How much better the model foretells what it learns than what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.probes.base import Need
from holdfast.probes.checks import check_place, check_rows
from holdfast.signals.reading import NLL_GAP, TRAIN_NLL

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene


@dataclass(frozen=True)
class Gap:
    """Mean NLL of held-out rows less that of rows of training, teacher-forced, in nats a target token.

        nll_gap = nll(held out) − nll(training)

    Both are read from the model in the same mode, unlike the training loss of the logs, which is of other steps' rows,
    with dropout. Signal: ``{signal: drift, reads: nll_gap, by: 0.1}``.

    Evidence: it is the textbook's generalization gap, of the likelihood, within the distribution of training. In fewer
    than one epoch it stays near 0 whatever happens out of distribution.

    Cost: a forward pass over both; that over the held-out rows is shared with ``validation`` and ``entropy``.

    Args:
        rows: Of each kind.
        path, suite: Where held-out rows come from, as in `holdfast.probes.validation.Validation`.
    """

    rows: int = 64
    path: str | None = None
    suite: str | None = None

    readings: ClassVar[tuple[str, ...]] = (NLL_GAP, TRAIN_NLL)
    needs: ClassVar[frozenset[Need]] = frozenset({"held_out"})

    def __post_init__(self) -> None:
        check_rows(self.rows)
        check_place(self.path, self.suite)

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs of a forward pass over both."""
        held_out = scene.held_out(self.rows, path=self.path, suite=self.suite)
        return scene.pass_flops(held_out) + scene.pass_flops(scene.training(self.rows))

    def measure(self, scene: Scene) -> Mapping[str, float | None]:
        """Return the gap, and the NLL of what is learned."""
        learned = scene.read(scene.training(self.rows)).nll
        held_out = scene.read(scene.held_out(self.rows, path=self.path, suite=self.suite)).nll
        return {NLL_GAP: held_out - learned, TRAIN_NLL: learned}
