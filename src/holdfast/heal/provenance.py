"""Where a healed model comes from: what lies beside it as ``heal.json``, so that it can be checked and made again."""

from __future__ import annotations

from typing import Any

from holdfast import __version__
from holdfast.heal.apply import Effect, Operation, summary
from holdfast.heal.sources import Hashes

NAME = "heal.json"
FORMAT = 1


def provenance(operation: Operation, *, effects: list[Effect], sources: Hashes) -> dict[str, Any]:
    """Return names and hashes of both models, the healing with the strength it had, and what it does to the weights.

    Args:
        operation: What was done.
        effects: To every tensor.
        sources: Of the weight files.
    """
    told = summary(effects)
    return {
        "format": FORMAT,
        "holdfast": __version__,
        "base": {"name": operation.pair.names[0], "sha256": sources.base},
        "tuned": {"name": operation.pair.names[1], "sha256": sources.tuned},
        "healing": operation.healing.to_json(),
        "strength": operation.strength,
        "summary": told._asdict(),
        "rounding_of_edit": told.rounding / told.edit if told.rounding is not None and told.edit else None,
        "tied": operation.pair.tied,
    }
