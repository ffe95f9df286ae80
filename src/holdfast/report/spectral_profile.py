"""A whole spectral diagnosis as plain values: checkpoints of one base, matrix by matrix, with what they answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from holdfast.records import Estimate, finite
from holdfast.report.spectral_readings import MatrixReading


@dataclass(frozen=True)
class Checkpoint:
    """One tuned model against the base.

    Attributes:
        name: As a reader knows it.
        step: Of a run's checkpoint; None of any other model.
        matrices: In order of the file's names; experts of a stack one by one.
        tensors, identical: All tensors, and those that are bit-identical in both models.
        energy, base_energy: ‖D‖² and ‖W_base‖² over all tensors, norms and biases among them.
        sha256: Over the names and contents of all tensors.
        tied: Names under which the files hold a tensor a second time; each is told once.
    """

    name: str
    step: int | None
    matrices: tuple[MatrixReading, ...]
    tensors: int
    identical: int
    energy: float
    base_energy: float
    sha256: str
    tied: tuple[str, ...] = ()

    @property
    def inner(self) -> tuple[MatrixReading, ...]:
        """The matrices of the decoder's blocks: what summaries speak of."""
        return tuple(one for one in self.matrices if one.in_block)

    @property
    def moved(self) -> tuple[MatrixReading, ...]:
        """Those of them that training changed."""
        return tuple(one for one in self.inner if one.norm)

    @property
    def relative(self) -> float | None:
        """‖D‖ / ‖W_base‖ of the whole model."""
        return math.sqrt(self.energy / self.base_energy) if self.base_energy else None

    @property
    def rounded(self) -> float | None:
        """Share of the weights of moved matrices that rounding to the file's dtype left where they were."""
        told = [(one.unchanged.rounded, one.n_values) for one in self.moved if one.unchanged is not None]
        return sum(share * n for share, n in told) / sum(n for _, n in told) if told else None


@dataclass(frozen=True)
class Success:
    """What a suite says of a checkpoint."""

    suite: str
    purpose: str
    step: int
    estimate: Estimate


@dataclass(frozen=True)
class Likeness:
    """How like the hidden states of a checkpoint are to the base's, where answers begin.

    Attributes:
        checkpoint, suite: Names.
        layer: Number of the block after which they stand; 0 is the embedding.
        cosine: Mean over prompts, with an interval over problems.
        cka: Linear centered kernel alignment, debiased; None of fewer than four prompts.
    """

    checkpoint: str
    suite: str
    layer: int
    cosine: Estimate
    cka: float | None


@dataclass(frozen=True)
class Diagnosis:
    """Everything that one call of ``holdfast diagnose`` found.

    Attributes:
        base, base_sha256: Its name, and a hash over the names and contents of its tensors.
        checkpoints: In order.
        k: Directions at either end, as asked.
        version: Of holdfast.
        other: Name of the model that each is held against; None if there is none.
        success: Of the run that the checkpoints belong to.
        hidden: Where prompts were asked.
    """

    base: str
    base_sha256: str
    checkpoints: tuple[Checkpoint, ...]
    k: float | int
    version: str
    other: str | None = None
    success: tuple[Success, ...] = ()
    hidden: tuple[Likeness, ...] = ()

    @property
    def last(self) -> Checkpoint:
        """The checkpoint that the tables and maps are of."""
        return self.checkpoints[-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "base": self.base,
            "base_sha256": self.base_sha256,
            "k": self.k,
            "holdfast": self.version,
            "against": self.other,
            "checkpoints": [_checkpoint(one) for one in self.checkpoints],
            "success": [
                {"suite": one.suite, "purpose": one.purpose, "step": one.step, **one.estimate.to_json()}
                for one in self.success
            ],
            "hidden": [
                {
                    "checkpoint": one.checkpoint,
                    "suite": one.suite,
                    "layer": one.layer,
                    "cka": one.cka,
                    "cosine": one.cosine.to_json(),
                }
                for one in self.hidden
            ],
        }


Quantity = Callable[[MatrixReading], float | None]


def rotation(end: str, side: str) -> Quantity:
    """Return Σ sin² relative to chance of one end (``top``, ``bottom``) on one side (``left``, ``right``)."""

    def told(reading: MatrixReading) -> float | None:
        turned = reading.top if end == "top" else reading.bottom
        return None if turned is None else (turned.left if side == "left" else turned.right).of_chance

    return told


def value_shift(reading: MatrixReading) -> float | None:
    """Return how far singular values moved, normalized."""
    return None if reading.values is None else reading.values.normalized


def inside(reading: MatrixReading) -> float | None:
    """Return the share of the update within the first directions on both sides, relative to chance."""
    if reading.energy is None or not reading.norm:
        return None
    return reading.energy.inside / reading.energy.chance["inside"]


def relative(reading: MatrixReading) -> float | None:
    """Return ‖D‖ / ‖W_base‖."""
    return reading.relative


def stable_rank(reading: MatrixReading) -> float | None:
    """Return the stable rank of the update."""
    return None if reading.spectrum is None else reading.spectrum.stable_rank


def middle(readings: Iterable[MatrixReading], quantity: Quantity) -> float | None:
    """Return the median of a quantity over matrices; None where none has it."""
    told = [value for one in readings if (value := quantity(one)) is not None]
    return median(told) if told else None


def pooled_undone(readings: Sequence[MatrixReading]) -> tuple[float | None, float | None]:
    """Return cosine and undone share of two updates over several matrices together."""
    told = [one.against for one in readings if one.against is not None]
    energy, other = math.fsum(one.energy for one in told), math.fsum(one.other_energy for one in told)
    inner = math.fsum(one.inner for one in told)
    cosine = inner / math.sqrt(energy * other) if energy and other else None
    return cosine, 1 - inner / energy if energy else None


def _checkpoint(one: Checkpoint) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "step": one.step,
        "sha256": one.sha256,
        "tensors": one.tensors,
        "identical": one.identical,
        "relative": finite(one.relative),
        "median_relative": middle(one.moved, relative),
        "rounded": one.rounded,
        "tied": list(one.tied),
        "matrices": [reading.to_json() for reading in one.matrices],
    }
