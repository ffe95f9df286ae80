"""A healer with its strength and its reach, as a recipe or a command line says it. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import UserError
from holdfast.heal import HEALERS
from holdfast.heal.base import Healer
from holdfast.members import build
from holdfast.selection import Selection, parse

KEYS = ("strength", "undo", "on")
"""Keys of a healing that are not the healer's own."""


@dataclass(frozen=True)
class Healing:
    """A healer with its strength and the tensors that it is asked about.

    Attributes:
        healer: Names the part that is taken back.
        strength: How much of that part: 0 leaves every bit as tuned, 1 takes all of it. In [0, 1].
        undo: Instead of a strength: the share of the whole update that is to be undone, <W_t − W', D> / ‖D‖² over all
            tensors of the model.
        on: Which parameters; None asks about the healer's ``scope``. Embeddings, head and towers belong to it only if
            they are selected.
    """

    healer: Healer
    strength: float = 1.0
    undo: float | None = None
    on: Selection | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength must lie in [0, 1], got {self.strength!r}")
        if self.undo is not None and not 0 <= self.undo <= 1:
            raise ValueError(f"undo must lie in [0, 1], got {self.undo!r}")
        if self.undo is not None and self.strength != 1.0:
            raise ValueError("give a strength or what is to be undone, not both")

    def to_json(self) -> dict[str, Any]:
        """Return what `healing_of` reads as this healing."""
        healer: Any = self.healer
        place = f"{type(healer).__module__}:{type(healer).__qualname__}"
        name = next((name for name, target in HEALERS.items() if target == place), place)
        how: dict[str, Any] = {"strength": self.strength} if self.undo is None else {"undo": self.undo}
        return {"name": name, **dataclasses.asdict(healer), **how, **({"on": self.on.to_json()} if self.on else {})}


def healing_of(spec: str | Mapping[str, Any], *, allow_code: bool = False) -> Healing:
    """Read a healing from a recipe's block or a command line: ``name``, the healer's own fields, and `KEYS`.

    Raises:
        UnknownName: the name, or a field, is not known.
        UserError: a value is refused.
    """
    fields = {"name": spec} if isinstance(spec, str) else dict(spec)
    own: dict[str, Any] = {key: value for key in KEYS if (value := fields.pop(key, None)) is not None}
    healer: Healer = build("healer", fields, HEALERS, allow_code=allow_code)
    strength, undo = (own.get(key) for key in ("strength", "undo"))
    for value in (strength, undo):
        if not isinstance(value, int | float | None) or isinstance(value, bool):
            raise UserError(f"strength and undo are numbers in [0, 1], got {value!r}")
    try:
        on = parse(own["on"]) if "on" in own else None
        return Healing(healer, 1.0 if strength is None else strength, undo, on)
    except ValueError as fault:
        raise UserError(str(fault)) from fault
