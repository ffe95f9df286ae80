"""What a search tries unless it is told otherwise. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.errors import UnknownName
from holdfast.heal import HEALERS

Candidate = Mapping[str, Any]
"""A healing as `holdfast.heal.healing.healing_of` reads it."""

STRENGTHS = (0.5, 1.0)
GRID: Mapping[str, Sequence[Candidate]] = {
    "interpolate": [{"strength": strength / 10} for strength in range(1, 10)],
    "union": [{"k": k, "strength": strength} for k in (0.1, 0.2, 0.4) for strength in STRENGTHS],
    "union_keep_values": [{"k": 0.2, "strength": strength} for strength in STRENGTHS],
    "core": [{"k": k} for k in (0.2, 0.5)],
    "rotation_only": [{"k": 0.2}],
    "head_tail": [{"head": 0.1, "tail": 0.1}, {"head": 0, "tail": 0.2}],
    "uv_merge": [{"k": 0.2}],
    "layer_reset": [{"share": 0.25, "position": position} for position in ("first", "middle", "last")],
    "lines": [{"alpha": alpha, "beta": 1.0 - alpha} for alpha in (0.25, 0.5)],
    "noise_edge": [{"scale": 1.0}],
    "intruders": [{"scale": 0.5}],
}
"""Options that are tried, by healer. Controls and the published null result are not among them."""


def candidates(healers: Sequence[str] = ()) -> tuple[Candidate, ...]:
    """Return the candidates of some healers, or of all in `GRID`; those of interpolation are always among them.

    A healer without a grid is tried with its own defaults.

    Raises:
        UnknownName: there is no such healer.
    """
    for name in healers:
        if name not in HEALERS:
            raise UnknownName("healer", name, HEALERS)
    names = dict.fromkeys(("interpolate", *(healers or GRID)))
    return tuple({"name": name, **options} for name in names for options in GRID.get(name, [{}]))


def in_words(candidate: Candidate) -> str:
    """Return a candidate as a line of a table says it.

    Example:
        >>> in_words({"name": "union", "k": 0.2, "strength": 0.5})
        'union k 0.2, strength 0.5'
    """
    options = ", ".join(f"{key} {_short(value)}" for key, value in candidate.items() if key not in ("name", "toward"))
    return f"{candidate['name']} {options}".strip()


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
