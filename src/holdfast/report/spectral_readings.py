"""What a spectral diagnosis says, as plain values: of one matrix, of a checkpoint, of several. No torch.

How each number is measured stands beside the function that measures it (`holdfast.spectral`). With D = W_tuned − W_base
of shape M × N and R = min(M, N), *the first k directions* are the base's k leading singular vectors on a side.

Chance is what a random update, or a random subspace, would give: a number is told with it wherever it has one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.records import finite

Road = Literal["exact", "first_order", "identical"]
"""From the singular system of the tuned matrix; from the update in the base's directions; bit-identical, nothing to
measure."""


@dataclass(frozen=True)
class Angles:
    """Principal angles between two subspaces of one size.

    Attributes:
        largest, rms: In degrees.
        of_chance: Σ sin² θ / (k (1 − k/n)): 0 for the same subspace, about 1 for a random one. None where k = n.
        count: k, directions of each subspace.
        size: n, of the space that they lie in.
        largest_error, rms_error, of_chance_error: About how far the number may be off. None where it is exact.
    """

    largest: float
    rms: float
    of_chance: float | None
    count: int
    size: int
    largest_error: float | None = None
    rms_error: float | None = None
    of_chance_error: float | None = None

    @property
    def forced(self) -> int:
        """How many angles are 0 in any case, since two k-subspaces of n dimensions share max(0, 2k − n)."""
        return max(0, 2 * self.count - self.size)

    @staticmethod
    def none(count: int, size: int) -> Angles:
        """Return the angles of a subspace with itself."""
        return Angles(0.0, 0.0, None if count == size else 0.0, count, size)


@dataclass(frozen=True)
class Rotation:
    """How far a subspace of the base turned: of left singular vectors (outputs of a linear layer) and of right ones."""

    left: Angles
    right: Angles


@dataclass(frozen=True)
class ValueShift:
    """How singular values moved, index by index in descending order.

    Attributes:
        normalized: ‖s_tuned − s_base‖ / ‖s_base‖, the NSS of arXiv 2511.08567.
        mean: Σ (s_tuned − s_base) / Σ s_base: signed.
        absolute: Σ |s_tuned − s_base| / Σ s_base.
        normalized_error, absolute_error: About how far they may be off; None where they are exact.
    """

    normalized: float
    mean: float
    absolute: float
    normalized_error: float | None = None
    absolute_error: float | None = None


@dataclass(frozen=True)
class EnergySplit:
    """Where ‖D‖² lies, as shares of it; ``inside``, ``left``, ``right`` and ``outside`` add up to 1.

    Attributes:
        diagonal: Σ (u_iᵀ D v_i)² over all i: what changes singular values and turns nothing. Chance 1/max(M, N).
        inside: Between the first k left and the first k right directions. Chance k²/(MN).
        left: From the first k left directions to the other right ones, P D (I − Q). Chance k(N − k)/(MN).
        right: (I − P) D Q. Chance k(M − k)/(MN).
        outside: (I − P) D (I − Q). Chance (M − k)(N − k)/(MN).
        count, rows, columns: k, M, N.
    """

    diagonal: float
    inside: float
    left: float
    right: float
    outside: float
    count: int
    rows: int
    columns: int

    @property
    def chance(self) -> Mapping[str, float]:
        """The same five shares for an update of independent Gaussian entries."""
        k, m, n = self.count, self.rows, self.columns
        return {
            "diagonal": 1 / max(m, n),
            "inside": k * k / (m * n),
            "left": k * (n - k) / (m * n),
            "right": k * (m - k) / (m * n),
            "outside": (m - k) * (n - k) / (m * n),
        }

    @property
    def overlap(self) -> float:
        """‖P D Q‖ / ‖D‖, the overlap ρ_k of OPLoRA."""
        return math.sqrt(self.inside)


@dataclass(frozen=True)
class OwnSpectrum:
    """The update's own singular values.

    Attributes:
        norm: ‖D‖₂.
        relative: ‖D‖₂ / ‖W_base‖₂; None where the base is 0.
        stable_rank: ‖D‖² / ‖D‖₂².
        effective_rank: exp of the entropy of s_i²/Σs²; None where only the leading values are known.
        edge: Below it, singular values are what noise of the update's bulk would show.
        signal_rank: Singular values above it.
        known: How many singular values were computed.
        exact: Whether that is all of them, from a decomposition of D.
    """

    norm: float
    relative: float | None
    stable_rank: float
    effective_rank: float | None
    edge: float
    signal_rank: int
    known: int
    exact: bool


@dataclass(frozen=True)
class Unchanged:
    """Shares of the weights that training left alone, by four measures.

    Attributes:
        bits: Equal bit for bit.
        rounded: The base rounded to the dtype of the tuned file: not moved by half a unit of its last place. Differs
            from ``bits`` only where the files' dtypes do.
        relative: |w' − w| <= 1e-3 max(|w|, |w'|), the test of arXiv 2511.08567 for bfloat16.
        close: |w' − w| <= 1e-5 + 1e-5 |w|, that of Mukherjee et al. (arXiv 2505.11711); it calls small weights
            unchanged that are not.
    """

    bits: float
    rounded: float
    relative: float
    close: float


@dataclass(frozen=True)
class Band:
    """A run of the base's singular indices.

    Attributes:
        first, last: Indices from 0, both within.
        left, right: Σ sin² of the angles by which its left and right subspaces turned, relative to chance.
        diagonal: Σ_i (u_iᵀ D v_i)² / ‖D‖² over the band.
        rows: ‖U_bandᵀ D‖² / ‖D‖²; chance is its share of the left space.
        columns: ‖D V_band‖² / ‖D‖²; chance is its share of the right space.
        chance_diagonal, chance_rows, chance_columns: For Gaussian entries, in expectation.
    """

    first: int
    last: int
    left: float | None
    right: float | None
    diagonal: float
    rows: float
    columns: float
    chance_diagonal: float
    chance_rows: float
    chance_columns: float


@dataclass(frozen=True)
class Bands:
    """Ten runs of indices, and the same of a Gaussian update of the same norm."""

    measured: tuple[Band, ...]
    null: tuple[Band, ...]


@dataclass(frozen=True)
class Against:
    """Two updates A and B of one base, matrix by matrix.

    Attributes:
        cosine: <D_A, D_B> / (‖D_A‖ ‖D_B‖).
        left, right: Angles between the leading subspaces of D_A and D_B.
        directions: How many directions of each update.
        undone: <D_A, D_A − D_B> / ‖D_A‖²: the share of A's drift that B no longer has. It reads as "B undid" only where
            B went on from A; below 0, B drifted on.
        energy, other_energy: ‖D_A‖² and ‖D_B‖².
        inner: <D_A, D_B>.
    """

    cosine: float | None
    left: Angles | None
    right: Angles | None
    directions: int
    undone: float | None
    energy: float
    other_energy: float
    inner: float


@dataclass(frozen=True)
class MatrixReading:
    """All that was measured of one matrix.

    Attributes:
        name: In the tuned model's files; of a stack of experts with the number of the expert.
        role, layer: As `holdfast.models.roles` tells them; None where the model does not know the tensor.
        in_block: Whether it is a matrix of the decoder's blocks. Others (embeddings, head, towers) are told apart.
        rows, columns: M and N.
        road: How rotation and values were found.
        count: k.
        base_norm: ‖W_base‖.
        norm: ‖D‖.
        top, bottom: How the base's first and last k directions turned; None where the base is 0.
        values, energy, spectrum: None where the base (the update) is 0.
        unchanged: None of a matrix whose entries were not compared.
        intruders: Leading directions of the tuned matrix that are like none of the base's; on the exact road only.
        bands, against: Where they were asked for.
    """

    name: str
    role: str | None
    layer: int | None
    in_block: bool
    rows: int
    columns: int
    road: Road
    count: int
    base_norm: float
    norm: float
    top: Rotation | None
    bottom: Rotation | None
    values: ValueShift | None
    energy: EnergySplit | None
    spectrum: OwnSpectrum | None
    unchanged: Unchanged | None
    intruders: int | None = None
    bands: Bands | None = None
    against: Against | None = None

    @property
    def relative(self) -> float | None:
        """ρ = ‖D‖ / ‖W_base‖; None where the base is 0."""
        return self.norm / self.base_norm if self.base_norm else None

    @property
    def n_values(self) -> int:
        """Number of weights."""
        return self.rows * self.columns

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is not a finite number becomes None."""
        told: dict[str, Any] = _plain(dataclasses.asdict(self))
        told["relative"] = finite(self.relative)
        if self.energy is not None:
            told["energy"]["chance"] = dict(self.energy.chance)
        for end in (self.top, self.bottom):
            if end is not None:
                place = told["top" if end is self.top else "bottom"]
                place["left"]["forced"], place["right"]["forced"] = end.left.forced, end.right.forced
        return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return finite(value) if isinstance(value, float) else value
