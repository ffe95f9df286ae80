"""Faults of ``probes``: names, options, and whether the rows that they ask about are there. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from holdfast import members
from holdfast.errors import Fault, UnknownName, UserError
from holdfast.probes import PROBES
from holdfast.probes.base import Probe
from holdfast.recipe import suggest

Block = Mapping[str, Any]


def probe_faults(values: Block, *, allow_code: bool = False) -> Iterator[Fault]:
    """Yield the faults of a recipe's ``probes``."""
    asked = blocks(values)
    if "kl" in asked and values.get("kl_rows"):
        yield Fault("kl_rows", "says the same as probes.kl", "Write one of them.")
    for name, options in asked.items():
        where = f"probes.{name}"
        try:
            probe = build(name, options, allow_code=allow_code)
        except UnknownName as fault:
            yield Fault(where, fault.problem, suggest(fault.name, fault.known))
        except UserError as fault:
            yield Fault(where, str(fault))
        else:
            yield from _row_faults(where, probe, options, values)


def blocks(values: Block) -> dict[str, Block]:
    """Return the options of each probe that a recipe names, whichever way it names them, as far as they are readable.

    The one that ``kl_rows`` stands for is not among them.
    """
    probes = values.get("probes")
    if isinstance(probes, list):
        return {name: {} for name in probes if isinstance(name, str)}
    if not isinstance(probes, Mapping):
        return {}
    return {
        str(name): options or {} for name, options in probes.items() if options is None or isinstance(options, Mapping)
    }


def build(name: str, options: Block, *, allow_code: bool = False) -> Probe:
    """Make a probe.

    Raises:
        UnknownName, UserError: see `holdfast.members.build`.
    """
    probe: Probe = members.build("probe", {"name": name, **options}, PROBES, allow_code=allow_code)
    return probe


def recorded(values: Block, *, allow_code: bool = False) -> tuple[str, ...]:
    """Return the readings of all probes that a recipe asks for; of those that cannot be made none."""
    asked = {**blocks(values), **({"kl": {}} if values.get("kl_rows") else {})}
    found: list[str] = []
    for name, options in asked.items():
        try:
            found += build(name, options, allow_code=allow_code).readings
        except UserError:
            continue  # said by `probe_faults`
    return tuple(found)


def who_records(reading: str) -> str | None:
    """Return the probe that writes a reading; None if none of the table does."""
    return next((name for name in PROBES if reading in members.find("probe", name, PROBES).readings), None)


def _row_faults(where: str, probe: Probe, options: Block, values: Block) -> Iterator[Fault]:
    path, suite = options.get("path"), options.get("suite")
    if isinstance(path, str) and not Path(path).expanduser().is_file():
        near = [entry.name for entry in Path(path).expanduser().parent.glob("*") if entry.is_file()]
        yield Fault(f"{where}.path", f"no such file: {path}", suggest(Path(path).name, near) if near else "")
    suites = values.get("suites")
    known = [str(name) for name in suites] if isinstance(suites, Mapping) else []
    if isinstance(suite, str) and suite not in known:
        fix = suggest(suite, known) if known else "The recipe has no suites."
        yield Fault(f"{where}.suite", f"no such suite: {suite!r}", fix)
    data = values.get("data")
    of_a_file = isinstance(data, Mapping) and data.get("path") is not None
    if "held_out" in probe.needs and path is None and suite is None and of_a_file:
        yield Fault(where, "rows of a file have no validation split of their own", "Add path: held_out.jsonl.")
