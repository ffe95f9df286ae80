"""Columns of small whole numbers as short text: what lets a thousand graded answers be committed in a line.

``squeeze([0, 1, 1])`` is base64 over zlib over one byte a number, so that anyone reads it back without us::

    list(zlib.decompress(base64.b64decode(text)))
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

LARGEST = 255


def squeeze(numbers: Sequence[int]) -> str | list[int]:
    """Return numbers from 0 to 255 as text, or as they are where one is larger.

    Example:
        >>> unsqueeze(squeeze([0, 1, 1]))
        [0, 1, 1]
        >>> squeeze([300])
        [300]
    """
    if max(numbers, default=0) > LARGEST:
        return list(numbers)
    return base64.b64encode(zlib.compress(bytes(numbers), 9)).decode("ascii")


def unsqueeze(column: str | Sequence[int]) -> list[int]:
    """Inverse of `squeeze`.

    Raises:
        ValueError: the text is no such column.
    """
    if not isinstance(column, str):
        return list(column)
    try:
        return list(zlib.decompress(base64.b64decode(column, validate=True)))
    except zlib.error as fault:
        raise ValueError(f"{column[:20]!r} is no squeezed column: {fault}") from fault


def index_of(numbers: Sequence[int]) -> int | list[int]:
    """Return the length of 0, 1, 2, …, or any other numbers as they are."""
    return len(numbers) if list(numbers) == list(range(len(numbers))) else list(numbers)


def indices(told: int | Sequence[int]) -> list[int]:
    """Inverse of `index_of`."""
    return list(range(told)) if isinstance(told, int) else list(told)


def rounded(value: Any, digits: int = 6) -> Any:
    """Return a float with so many significant digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
