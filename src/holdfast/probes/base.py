"""The contract of a probe: it measures the model of a moment, and a signal may read what it found.

A probe is a frozen dataclass whose fields are its options, as a recipe writes them: ``probes: {entropy: {rows: 64}}``.
The run makes a `Scene` at every moment, asks each probe, and puts its readings into the record; so a signal decides on
them as a pure function of the history, live and on finished runs alike (`holdfast.signals`).

A complete member::

    @dataclass(frozen=True)
    class Entropy:
        rows: int = 64

        readings: ClassVar[tuple[str, ...]] = ("prediction_entropy",)
        needs: ClassVar[frozenset[Need]] = frozenset({"held_out"})

        def cost(self, scene):
            return scene.pass_flops(scene.held_out(self.rows))

        def measure(self, scene):
            return {"prediction_entropy": scene.read(scene.held_out(self.rows)).entropy}

What the model is: the weights as they would be exported, in eval mode, inside `holdfast.models.compute.exported`.
Whatever a probe does to it is put back. A probe that compares moments keeps something of each (`Scene.keep`) and finds
it again at the next (`Scene.past`), also after the run was broken off: that is a file of the run folder.

A reading may be a number, or an `Estimate` with the interval that other problems would give; records then hold both.

Laws (``tests/laws/test_probes.py``): ``measure`` returns exactly ``readings``, finite numbers or None; the same scene
gives the same numbers; the model, the global random state and the training that follows are left bit for bit as they
were; ``cost`` is at least what is then spent; names of readings are no other member's.

This file, and every member's module, imports no torch at the top, so that a recipe is checked in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from holdfast.statistics import Estimate

if TYPE_CHECKING:
    from holdfast.probes.scene import Scene

Need = Literal["held_out", "base", "base_weights", "gradients"]
"""What a run has to hold ready for a probe: rows that are not learned; the untrained model, in memory; the untrained
weights, read from its files; gradients of the live model. The last two are not to be had of a sharded model."""

Reading = float | Estimate | None
"""What is told of a moment under one name."""


@runtime_checkable
class Probe(Protocol):
    """Measures a model at a moment. Implementations are frozen dataclasses whose fields are their options."""

    @property
    def readings(self) -> tuple[str, ...]:
        """Names of all that it writes into a record."""

    @property
    def needs(self) -> frozenset[Need]:
        """What has to be there for it."""

    def cost(self, scene: Scene) -> float:
        """Return the FLOPs that `measure` will spend there at most, told from shapes alone.

        Args:
            scene: What would be measured; nothing of the model is computed.
        """

    def measure(self, scene: Scene) -> Mapping[str, Reading]:
        """Return all of ``readings``; None where a number cannot be told.

        Args:
            scene: The model at one moment, and what may be asked about it.
        """
