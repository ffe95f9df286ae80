"""Whether PEFT is there, asked without importing it or torch."""

from __future__ import annotations

import importlib.util


def missing() -> str | None:
    """Return what adapters need that is not installed, in words; None if nothing."""
    if importlib.util.find_spec("peft") is None:
        return "lora needs PEFT: pip install 'holdfast[peft]'"
    return None
