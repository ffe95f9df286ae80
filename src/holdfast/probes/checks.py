"""What options of several probes have in common. Imports no torch."""

from __future__ import annotations


def check_rows(rows: object, *, least: int = 1, name: str = "rows") -> None:
    """Raise ValueError unless ``rows`` is a whole number of at least ``least``."""
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {rows!r}")


def check_place(path: str | None, suite: str | None) -> None:
    """Raise ValueError if held-out rows are to come from two places."""
    if path is not None and suite is not None:
        raise ValueError(f"give a path or a suite, not both (got {path!r} and {suite!r})")
