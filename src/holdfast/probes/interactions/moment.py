"""What is kept of one moment of a run, so that later moments can be compared with it.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets of n players.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from holdfast.probes.interactions.measure import Measured
from holdfast.probes.interactions.salience import Signs
from holdfast.probes.interactions.split import split, tolerance


@dataclass(frozen=True)
class Moment:
    """Interactions at one moment, and what counts when the same is asked in another way.

    Attributes:
        measured: In the prompts as they are.
        templates: What counts in each further template, by that template's own threshold; the same model.
        references: What counts in each other model (a second one, or twins); none if none was named.
        again: What counts when the outputs' noise is drawn again; None if noise was not measured.
        step: Of the run.
    """

    measured: Measured
    templates: tuple[Signs, ...] = ()
    references: tuple[Signs, ...] = ()
    again: Signs | None = None
    step: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "measured": self.measured.to_json(),
            "templates": [_sparse(signs) for signs in self.templates],
            "references": [_sparse(signs) for signs in self.references],
            "again": None if self.again is None else _sparse(self.again),
            "step": self.step,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Moment:
        """Inverse of `to_json`."""
        measured = Measured.from_json(row["measured"])
        shape = measured.interactions_P2M.shape
        return Moment(
            measured=measured,
            templates=tuple(_dense(one, shape) for one in row["templates"]),
            references=tuple(_dense(one, shape) for one in row["references"]),
            again=None if row["again"] is None else _dense(row["again"], shape),
            step=row["step"],
        )


def with_noise_again(measured: Measured, *, seed: int) -> Signs:
    """Return what counts when as much noise as was measured is added to the outputs once more."""
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(measured.values_PM.shape) * measured.noise_P[:, None]
    values_PM = measured.values_PM + drawn
    parted = split(values_PM, tolerance(values_PM, noise_P=measured.noise_P))
    again = Measured(
        keys=measured.keys,
        values_PM=values_PM,
        interactions_P2M=np.stack([parted.and_PM, parted.or_PM], axis=1),
        noise_P=measured.noise_P,
        gap_P=parted.gap_P,
        residual_P=parted.residual_P,
        tokens=0,
    )
    return again.salient()


def _sparse(signs: Signs) -> dict[str, list[int]]:
    flat = signs.reshape(-1)
    return {"plus": np.flatnonzero(flat > 0).tolist(), "minus": np.flatnonzero(flat < 0).tolist()}


def _dense(places: Mapping[str, Sequence[int]], shape: tuple[int, ...]) -> Signs:
    flat = np.zeros(int(np.prod(shape)), dtype=np.int8)
    flat[list(places["plus"])] = 1
    flat[list(places["minus"])] = -1
    return flat.reshape(shape)
