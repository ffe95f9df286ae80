"""Globs over dotted parameter names, by whole segments.

A pattern matches a name if it matches a run of its segments: ``layers.1`` matches ``model.layers.1.mlp.up_proj.weight``
and never ``model.layers.10.mlp.up_proj.weight``. ``*`` stands for any characters of one segment, ``?`` for one
character, ``**`` for any number of segments, none included.
"""

from __future__ import annotations

import re
from functools import lru_cache

from holdfast.errors import SelectionError

SEGMENT = re.compile(r"[\w*?-]+")


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a glob.

    Raises:
        SelectionError: the pattern is empty, or is itself a regular expression.
    """
    segments = pattern.split(".")
    if not all(SEGMENT.fullmatch(segment) for segment in segments):
        raise SelectionError(
            f"{pattern!r} is not a glob over dotted names: between two dots stand letters, digits, _, -, * or ?. "
            'For example "layers.3.self_attn" or "layers.*.mlp.**.weight"; regular expressions are not understood.'
        )
    parts = ["(?:[^.]+\\.)*" if segment == "**" else f"{_segment(segment)}\\." for segment in segments]
    return re.compile(f"(?:^|\\.){''.join(parts)}")


def matches(pattern: str, name: str) -> bool:
    """Whether a glob matches a dotted name.

    Raises:
        SelectionError: as `compiled`.

    Example:
        >>> matches("layers.1", "model.layers.1.mlp.up_proj.weight"), matches("layers.1", "model.layers.10.norm.weight")
        (True, False)
        >>> matches("layers.*.mlp.**.weight", "model.layers.10.mlp.experts.3.up_proj.weight")
        True
    """
    # With a dot behind the name each segment ends with one, so that the last is like the others.
    return compiled(pattern).search(name + ".") is not None


def _segment(glob: str) -> str:
    return "".join({"*": "[^.]*", "?": "[^.]"}.get(character, re.escape(character)) for character in glob)
