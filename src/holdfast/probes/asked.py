"""The probes that a recipe asks for. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection

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


def suites_read(recipe: Recipe, readings: Collection[str], *, allow_code: bool = False) -> tuple[str, ...]:
    """Return a reading of each suite whose problems a signal sees through a probe, so that the suite is split.

    Args:
        recipe: Its probes may name a suite (``validation: {suite: id}``).
        readings: That the signal needs.
        allow_code: Whether the recipe may name outside code.
    """
    probes = probes_of(recipe, allow_code=allow_code)
    asked = recipe.probes_asked
    return tuple(
        f"eval_{asked[name]['suite']}_success"
        for name, probe in probes.items()
        if asked[name].get("suite") is not None and set(probe.readings) & set(readings)
    )
