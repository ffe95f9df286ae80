"""What a healing does to the weights, as tables and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.models.roles import TOWERS, Role
from holdfast.report import words
from holdfast.report.tables import Table

if TYPE_CHECKING:
    from holdfast.heal.apply import Effect, Summary

COLUMNS = ("tensors", "healed", "of all ‖D‖²", "undone", "edit / ‖D‖")
NOTE = (
    "D = tuned − base. Undone: the share of D that is taken back, <tuned − healed, D> / ‖D‖²; edit: ‖tuned − healed‖ / "
    "‖D‖; both within the row, all in the row before rounding."
)


def by_role(effects: Sequence[Effect]) -> Table:
    """Return one row for each role, in the order of `Role`, and one for all."""
    order: list[str | None] = [role.value for role in Role]
    keys = [*order, None]
    rows = [_row(key or "unknown", [e for e in effects if e.role == key], effects) for key in keys]
    rows.append(_row("all", effects, effects))
    return Table(("role", *COLUMNS), tuple(row for row in rows if row[1] != "0"), "lrrrrr", (NOTE,))


def by_layer(effects: Sequence[Effect]) -> Table:
    """Return one row for each block of the decoder, and one for what stands outside."""

    def block(effect: Effect) -> int | None:
        return None if effect.role in TOWERS else effect.layer

    layers = sorted({layer for effect in effects if (layer := block(effect)) is not None})
    rows = [_row(str(layer), [e for e in effects if block(e) == layer], effects) for layer in layers]
    rows.append(_row("outside", [e for e in effects if block(e) is None], effects))
    return Table(("block", *COLUMNS), tuple(row for row in rows if row[1] != "0"), "lrrrrr")


def in_words(told: Summary) -> tuple[str, ...]:
    """Return what a healing does to the whole model, beside interpolation that undoes as much."""
    if told.undone is None or told.edit is None or told.artefact is None:
        return ("The two models are bit-identical: there is nothing to heal.",)
    away = math.sqrt(max(0.0, 1 - 2 * told.undone + told.edit**2))
    lines = [
        f"Undone: {words.percent(told.undone)} of the update, in {told.touched} of {told.tensors} tensors. The edit is "
        f"{told.edit:.3f} ‖D‖, {told.artefact:.3f} ‖D‖ of it at a right angle to D (artefact); the healed model is "
        f"{away:.3f} ‖D‖ away from the base.",
        f"Interpolation that undoes as much (--healer interpolate --strength {max(0.0, told.undone):.4g}) edits "
        f"{max(0.0, told.undone):.3f} ‖D‖, has no artefact, and is {abs(1 - told.undone):.3f} ‖D‖ away from the base.",
    ]
    if told.rounding and told.edit:
        lines.append(f"Rounding to the dtype of the files: {told.rounding / told.edit:.2g} of the edit.")
    return tuple(lines)


def _row(name: str, mine: Sequence[Effect], all_: Sequence[Effect]) -> tuple[str, ...]:
    energy = math.fsum(effect.energy for effect in mine)
    whole = math.fsum(effect.energy for effect in all_)
    undone = math.fsum(effect.undone for effect in mine)
    edited = math.fsum(effect.edited for effect in mine)
    return (
        name,
        str(len(mine)),
        str(sum(effect.edited > 0 for effect in mine)),
        words.percent(energy / whole if whole else None),
        words.percent(undone / energy if energy else None),
        f"{math.sqrt(edited / energy):.3f}" if energy else words.UNKNOWN,
    )
