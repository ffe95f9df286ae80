"""The probes that a recipe asks for. Imports no torch."""

from __future__ import annotations

from holdfast.members import build
from holdfast.probes import PROBES
from holdfast.probes.base import Probe
from holdfast.recipe import Recipe


def probes_of(recipe: Recipe, *, allow_code: bool = False) -> dict[str, Probe]:
    """Return the probes of a recipe by name, in the order of the table, in which they are asked.

    Raises:
        UserError: there is no such probe, or it refuses its options.
    """
    asked, table = recipe.probes_asked, list(PROBES)
    names = sorted(asked, key=lambda name: (table.index(name) if name in PROBES else len(table), name))
    return {name: build("probe", {"name": name, **asked[name]}, PROBES, allow_code=allow_code) for name in names}
