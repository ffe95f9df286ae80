"""The contract of a healer: which part of what training did to a matrix is taken back.

With D = W_tuned − W_base, a healer names a part E of the update, and at strength a::

    W_healed = W_tuned − a · E ,      E = share · D + left · rightᵀ

so a member writes only the mathematics of E. Slices, dtypes, devices, stacks of experts, tied weights, rounding (once,
to the dtype of the tuned model's file) and provenance are the engine's (`holdfast.heal.apply`).

A complete member::

    @dataclass(frozen=True)
    class Core:
        k: float | int = 0.2

        scope: ClassVar[Scope] = "matrices"

        def edit(self, update, place):
            left_MK, _, right_NK = update.leading(self.k)
            return Edit(left_MK=left_MK @ (update.left(left_MK) @ right_NK), right_NK=right_NK)

Laws (``tests/laws/test_healers.py``): strength 0 returns the tuned tensor bit for bit; a tensor that did not move stays
bit-identical at any strength; the edit of a matrix and that of its transpose are transposes; the same call gives the
same bits; what is removed is linear in strength.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of the edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.spectral.update import Update

Scope = Literal["matrices", "everything"]
"""What a healer is asked about unless a selection says otherwise: the matrices of the decoder's blocks (embeddings,
head, norms and biases stay as tuned), or every tensor."""


@dataclass(frozen=True)
class Place:
    """Where a tensor stands.

    Attributes:
        name: In the tuned model's files; of a stack of experts with the number of the expert.
        role: A word of `holdfast.models.roles.Role`; None where the model does not know the tensor.
        layer: Of the decoder, from 0; None outside of its blocks.
        layers: Number of the decoder's blocks.
    """

    name: str
    role: str | None
    layer: int | None
    layers: int


@dataclass(frozen=True)
class Edit:
    """The part E = share · D + left · rightᵀ of an update.

    Attributes:
        share: Of D as a whole.
        left_MK, right_NK: A further part of low rank, in the update's dtype; both or neither.
    """

    share: float = 0.0
    left_MK: Tensor | None = None
    right_NK: Tensor | None = None

    @property
    def nothing(self) -> bool:
        """Whether E is 0 by construction."""
        return not self.share and self.left_MK is None

    @property
    def rank(self) -> int:
        """Rank of the part of low rank, at most."""
        return 0 if self.left_MK is None else int(self.left_MK.shape[1])


@runtime_checkable
class Healer(Protocol):
    """Names a part of an update. Implementations are frozen dataclasses whose fields are their options."""

    scope: ClassVar[Scope]

    def edit(self, update: Update, place: Place) -> Edit:
        """Return the part of ``update`` that strength 1 takes back.

        Args:
            update: Of one matrix; a vector or any other tensor comes as one row, and only ``share`` makes sense there.
            place: Where it stands.
        """


@runtime_checkable
class Blend(Healer, Protocol):
    """A healer that takes back a share of the update that depends on the place alone, not on any value.

    What it does is elementwise, so the engine works on pieces of a tensor and never holds a whole one.
    """

    def share_at(self, place: Place) -> float:
        """Return the share of D that strength 1 takes back there; `edit` returns the same."""
