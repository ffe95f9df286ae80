"""What a user should know about a selection, in sentences: tied weights, what does not run, what stays frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.models.roles import TOWERS as TOWERS
from holdfast.models.roles import ParameterRole, Role
from holdfast.selection.base import Selection, spans

BESIDE_TEXT = TOWERS | {Role.PROJECTOR}
"""Roles that only run where there are images or sounds."""


def tied_notes(selection: Selection, wanted: Sequence[ParameterRole], taken: Sequence[ParameterRole]) -> Iterable[str]:
    """Say which names are one tensor, where the user may think of them as two."""
    if selection == Selection(preset="full"):
        return
    learning = {p.name for p in taken}
    for parameter in wanted:
        for name, role in zip(parameter.tied, parameter.tied_roles, strict=True):
            what = "both learn" if parameter.name in learning else "both stay frozen"
            yield (
                f"{name} ({role.value}) and {parameter.name} ({parameter.role.value}) are one tied tensor: "
                f"{what}, and it counts once"
            )


def idle_notes(left_out: Sequence[ParameterRole]) -> Iterable[str]:
    """Say what was asked for and does not run on text."""
    towers = sum(p.n_parameters for p in left_out if p.role in BESIDE_TEXT)
    if towers:
        yield f"towers and projectors do not run on text: {towers:,} parameters stay frozen"
    blocks = [p for p in left_out if p.role not in BESIDE_TEXT]
    if blocks:
        indices = spans({p.layer for p in blocks if p.layer is not None})
        count = sum(p.n_parameters for p in blocks)
        yield f"blocks {indices} only attend to images and do not run on text: {count:,} parameters stay frozen"


def cross_attention_notes(
    selection: Selection, running: Sequence[ParameterRole], taken: Sequence[ParameterRole]
) -> Iterable[str]:
    """Say that attention over images is a role of its own."""
    frozen = {p.name for p in running if p.role is Role.CROSS_ATTENTION} - {p.name for p in taken}
    if Role.ATTENTION in selection.wanted and Role.CROSS_ATTENTION not in selection.wanted and frozen:
        count = sum(p.n_parameters for p in running if p.name in frozen)
        yield f"cross-attention ({count:,} parameters) stays frozen; to train it too, add roles: [cross_attention]"
