"""Set whole blocks back to the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from holdfast.heal.base import Edit, Place, Scope

ENDS = frozenset({"embedding", "head"})

if TYPE_CHECKING:
    from holdfast.spectral.update import Update


@dataclass(frozen=True)
class LayerReset:
    """Take back all of the update in a share of the blocks: their matrices, norms and biases.

    Args:
        share: Of the decoder's blocks, in (0, 1]; at least one.
        position: Which: the ``first``, the ``middle`` or the ``last``.
        ends: Whether embeddings and head are set back too, as in the published experiment.

    Reference: Jin et al. 2025, https://arxiv.org/abs/2508.16546 ("first 25 % of the layers"; their program copies the
    embeddings and the head as well: ``ends: true``).
    """

    share: float = 0.25
    position: Literal["first", "middle", "last"] = "first"
    ends: bool = False

    scope: ClassVar[Scope] = "everything"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {self.share!r}")
        if self.position not in ("first", "middle", "last"):
            raise ValueError(f"position must be first, middle or last, got {self.position!r}")
        if not isinstance(self.ends, bool):
            raise ValueError(f"ends must be true or false, got {self.ends!r}")

    def share_at(self, place: Place) -> float:
        """Return 1 in the chosen blocks, 0 elsewhere."""
        if place.layer is None:
            return float(self.ends and place.role in ENDS)
        return float(place.layer in self.blocks(place.layers))

    def edit(self, update: Update, place: Place) -> Edit:  # noqa: ARG002  (the whole of it, or none)
        """Return all of D in the chosen blocks, none elsewhere."""
        return Edit(share=self.share_at(place))

    def blocks(self, layers: int) -> range:
        """Return the chosen ones of so many blocks."""
        count = max(1, round(self.share * layers))
        start = {"first": 0, "middle": (layers - count) // 2, "last": layers - count}[self.position]
        return range(start, start + count)
