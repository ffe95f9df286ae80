"""Every member that is written stands in its family's literal table, and every line of a table leads to a member."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import NamedTuple

import pytest

import holdfast
from holdfast.environments import ENVIRONMENTS
from holdfast.environments.base import Environment
from holdfast.heal import HEALERS
from holdfast.heal.base import Healer
from holdfast.members import find
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.base import Objective
from holdfast.probes import PROBES
from holdfast.probes.base import Probe
from holdfast.signals import SIGNALS
from holdfast.signals.base import Signal


class Family(NamedTuple):
    folder: str
    table_name: str
    table: dict[str, str]
    contract: type


FAMILIES = {
    "environments": Family("environments", "ENVIRONMENTS", ENVIRONMENTS, Environment),
    "heal": Family("heal", "HEALERS", HEALERS, Healer),
    "objectives": Family("objectives", "OBJECTIVES", OBJECTIVES, Objective),
    "probes": Family("probes", "PROBES", PROBES, Probe),
    "signals": Family("signals", "SIGNALS", SIGNALS, Signal),
}


def keeps(contract: type, member: type) -> bool:
    """Whether a class keeps a contract: as a subclass, or by having all that a protocol names."""
    if not getattr(contract, "_is_protocol", False):
        return issubclass(member, contract) and member is not contract
    asked = {name for name in {**vars(contract), **contract.__annotations__} if not name.startswith("_")}
    fields = set(getattr(member, "__dataclass_fields__", ()))
    return asked <= fields | set(dir(member))


def is_member(contract: type, candidate: object, module: str) -> bool:
    return (
        inspect.isclass(candidate)
        and candidate.__module__ == module
        and not candidate.__name__.startswith("_")
        and not inspect.isabstract(candidate)
        and not getattr(candidate, "_is_protocol", False)
        and keeps(contract, candidate)
    )


def members_in(family: Family) -> list[str]:
    """Return ``module:Class`` of every concrete member in a family's folder."""
    package = importlib.import_module(f"holdfast.{family.folder}")
    found = []
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if is_member(family.contract, value, module.name):
                found.append(f"{module.name}:{name}")
    return sorted(found)


def missing_lines(family: Family, members: list[str]) -> list[str]:
    """Return the lines to add to the table; a package's name for a class of one of its modules is as good."""
    known = {id(find(family.folder, name, family.table)) for name in family.table}
    absent = [member for member in members if id(find("", member, {}, allow_code=True)) not in known]
    return [f'    "{snake(member)}": "{member}",' for member in absent]


def snake(member: str) -> str:
    return member.partition(":")[0].rpartition(".")[2]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_concrete_member_stands_in_its_literal_table(family):
    lines = missing_lines(family, members_in(family))
    assert not lines, f"add to {family.table_name} in src/holdfast/{family.folder}/__init__.py:\n" + "\n".join(lines)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_line_of_a_table_leads_to_a_member_of_the_family(family):
    for name in family.table:
        assert keeps(family.contract, find(family.folder, name, family.table)), name


def test_every_folder_with_a_contract_and_a_table_is_walked():
    root = Path(holdfast.__file__).parent
    families = {
        base.parent.name
        for base in root.glob("*/base.py")
        if '": "holdfast.' in (base.parent / "__init__.py").read_text(encoding="utf-8")
    }
    assert families <= set(FAMILIES), f"add to FAMILIES in {__file__}: {sorted(families - set(FAMILIES))}"


def test_the_guard_names_the_line_that_is_missing():
    family = FAMILIES["signals"]
    emptied = family._replace(table={name: line for name, line in family.table.items() if name != "ood_peak"})
    lines = missing_lines(emptied, members_in(emptied))
    assert lines == ['    "ood_peak": "holdfast.signals.ood_peak:OODPeak",']
