"""From a name in a recipe to a member of a family.

Each family (``environments``, ``objectives``, ``signals``, …) has a literal table in its ``__init__``: name to
``"module:Class"``. Members are imported when they are asked for, so that ``holdfast --help`` stays fast.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from holdfast.errors import UnknownName, UserError, did_you_mean


def find(kind: str, name: str, table: Mapping[str, str], *, allow_code: bool = False) -> Any:
    """Import the member that ``name`` stands for and return it (a class).

    Args:
        kind: The family in the singular, for the error message, for example ``"objective"``.
        name: A name of ``table``, or an outsider's ``module:Class``.
        table: Name to ``"module:Class"``.
        allow_code: Whether ``module:Class`` outside the table may be imported. Off by default: a recipe is data.

    Raises:
        UnknownName: ``name`` is not in the table.
        UserError: ``module:Class`` without ``allow_code``, or nothing can be imported from there.
    """
    if name in table:
        target = table[name]
    elif ":" in name:
        if not allow_code:
            raise UserError(f"{kind} {name!r} names code outside holdfast; pass --allow-code to import it")
        target = name
    else:
        raise UnknownName(kind, name, table)
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as fault:
        raise UserError(f"{kind} {name!r}: cannot import {target}: {fault}") from fault


def build(kind: str, spec: str | Mapping[str, Any], table: Mapping[str, str], *, allow_code: bool = False) -> Any:
    """Make a member from a recipe's entry: a bare name, or a mapping with ``name`` and the member's own fields.

    Raises:
        UnknownName: the name, or one of the fields, is not known.
        UserError: the member refuses the values.
    """
    fields = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"{kind}: 'name' is missing. {did_you_mean('', table)}")
    member = find(kind, name, table, allow_code=allow_code)
    if dataclasses.is_dataclass(member):
        known = {field.name for field in dataclasses.fields(member) if field.init}
        for key in fields:
            if key not in known:
                raise UnknownName(f"option of {kind} {name}", key, known)
    try:
        return member(**fields)
    except (TypeError, ValueError) as fault:
        raise UserError(f"{kind} {name}: {fault}") from fault
