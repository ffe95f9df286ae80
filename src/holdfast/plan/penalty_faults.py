"""Faults of ``penalty`` beyond its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.errors import Fault
from holdfast.spectral.counts import check_share


def penalty_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of ``penalty.k``; names, types and signs are the schema's, ``on`` is a selection's."""
    penalty = values.get("penalty")
    k = penalty.get("k") if isinstance(penalty, Mapping) else None
    if isinstance(k, int | float):
        try:
            check_share("k", k)
        except ValueError as fault:
            yield Fault("penalty.k", str(fault), "For example 0.2, a fifth of each matrix's directions.")
