"""How many directions a share means. Imports no torch, so that a recipe is checked in a moment."""

from __future__ import annotations

TOP = 10
"""Leading singular vectors of a tuned matrix among which intruders are looked for (PEFT's default)."""
LEAST_LIKENESS = 0.5
"""Cosine with the base's nearest singular vector below which a vector is an intruder (PEFT's default)."""


def count_of(share: float | int, rank: int) -> int:
    """Return how many of ``rank`` directions ``share`` means: a share of them in (0, 1], else a number; at least 1.

    Example:
        >>> count_of(0.2, 1024), count_of(64, 1024), count_of(64, 32)
        (205, 64, 32)
    """
    wanted = round(share * rank) if isinstance(share, float) and share <= 1 else int(share)
    return max(1, min(rank, wanted))


def check_share(name: str, value: float | int, *, zero: bool = False) -> None:
    """Raise ValueError unless ``value`` is a share in (0, 1], a whole number of at least 1, or 0 if that is allowed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a share in (0, 1] or a whole number of directions, got {value!r}")
    whole = isinstance(value, int)
    if zero and value == 0:
        return
    if not (value >= 1 if whole else 0 < value <= 1):
        raise ValueError(f"{name} must be a share in (0, 1] or a whole number of directions, got {value!r}")
