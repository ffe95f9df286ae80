"""Laws of selections: every preset, and every role, on every tiny architecture."""

from __future__ import annotations

import pytest

import tiny_models
from holdfast.errors import SelectionError
from holdfast.models.roles import Role
from holdfast.models.structure import roles
from holdfast.selection import PRESETS, parse, select

CASES = [(spec, model) for spec in dict.fromkeys([*PRESETS, *map(str, Role)]) for model in tiny_models.CONFIGS]


@pytest.mark.parametrize(("spec", "architecture"), CASES)
def test_a_selection_is_exactly_its_roles_or_a_refusal(spec: str, architecture: str) -> None:
    found = roles(tiny_models.build(architecture, device="meta"))
    wanted = set(PRESETS.get(spec, ())) or {Role(spec)}
    holding = [p for p in found if wanted & {p.role, *p.tied_roles}]
    if not holding:
        with pytest.raises(SelectionError, match="no parameters with role"):
            select(found, parse(spec))
        return
    selected = select(found, parse(spec))
    assert selected.names == tuple(p.name for p in holding)
    assert selected == select(found, parse(selected.selection.to_json()))
    everything = {name for p in found for name in (p.name, *p.tied)}
    assert {*selected.names, *selected.tied} <= everything
    assert sum(cell.n_parameters for cell in selected.table) == selected.n_parameters
    assert sum(cell.of_tensors for cell in selected.table) == len(found)
    assert selected.n_total == sum(p.n_parameters for p in found)


@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_the_roles_part_the_model(architecture: str) -> None:
    found = roles(tiny_models.build(architecture, device="meta"))
    parts = [select(found, parse(role.value)).names for role in {p.role for p in found}]
    assert sorted(name for part in parts for name in part) == sorted(p.name for p in found)


@pytest.mark.parametrize("architecture", tiny_models.CONFIGS)
def test_blocks_one_by_one_make_up_all_blocks(architecture: str) -> None:
    found = roles(tiny_models.build(architecture, device="meta"))
    n_blocks = 1 + max(p.layer for p in found if p.layer is not None and p.role not in (Role.VISION, Role.AUDIO))
    whole = select(found, parse({"preset": "full", "layers": f"first:{n_blocks}"}))
    single = [select(found, parse({"preset": "full", "layers": [block]})) for block in range(n_blocks)]
    assert sorted(name for one in single for name in one.names) == sorted(whole.names)
    assert sum(one.n_parameters for one in single) == whole.n_parameters
