"""SHA-256 of what is asked and learned: part of a run's identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from holdfast.environments.base import Environment
from holdfast.records import Picture


def digest(values: Iterable[Any]) -> str:
    """Return 64 hex digits over JSON values, in order; a picture counts as the values that fix its pixels."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(json.dumps(value, sort_keys=True, ensure_ascii=True, default=plain).encode() + b"\n")
    return whole.hexdigest()


def plain(picture: Picture) -> dict[str, Any]:
    """Return what stands for a picture in JSON: pass it to ``json.dumps`` as ``default``."""
    return picture.to_json()


def options_of(environment: Environment) -> str:
    """Return the environment's fields and their values as text; its ``repr`` where it is no dataclass."""
    if not dataclasses.is_dataclass(environment):
        return repr(environment)
    return repr([(field.name, getattr(environment, field.name)) for field in dataclasses.fields(environment)])
