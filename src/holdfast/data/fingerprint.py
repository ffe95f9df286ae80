"""SHA-256 of what is asked and learned: part of a run's identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from holdfast.environments.base import Environment


def digest(values: Iterable[Any]) -> str:
    """Return 64 hex digits over JSON values, in order."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(json.dumps(value, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    return whole.hexdigest()


def options_of(environment: Environment) -> str:
    """Return the environment's fields and their values as text; its ``repr`` where it is no dataclass."""
    if not dataclasses.is_dataclass(environment):
        return repr(environment)
    return repr([(field.name, getattr(environment, field.name)) for field in dataclasses.fields(environment)])
