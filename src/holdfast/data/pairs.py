"""Pairs of answers as token rows: each example is two rows, the better one first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.data.encode import encode_all
from holdfast.data.rows import read_preferences
from holdfast.data.sources import TokenRows


def pair_rows(path: str | Path, tokenizer: Any, *, max_length: int | None = None) -> TokenRows:
    """Return the pairs of a file, encoded.

    Args:
        path: See `holdfast.data.rows.read_preferences`.
        tokenizer, max_length: See `holdfast.data.encode.encode_all`.

    Raises:
        DataError: the file cannot be read, or a row cannot be encoded.
    """
    examples = [example for preference in read_preferences(path) for example in preference]
    return TokenRows(encode_all(examples, tokenizer, max_length=max_length), each=2)
