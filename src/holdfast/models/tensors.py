"""Streamed reading and writing of safetensors folders: one tensor in memory at a time, no matter the size of the model.

Shard indexes and headers are input from others: file names must be plain names inside the folder, a tensor may exist
once, and offsets must fit the file exactly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.errors import ModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights: the single one, or all shards of the index, in order of name.

    Raises:
        ModelError: there is neither, a shard is missing, or the index names a file that is not a plain name.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    shards = {check_plain_name(shard, folder / INDEX) for shard in _weight_map(folder / INDEX).values()}
    for shard in sorted(shards):
        if not (folder / shard).is_file():
            raise ModelError(f"{folder / INDEX} names the shard {shard!r}, which is missing")
    return [folder / shard for shard in sorted(shards)]


def check_plain_name(name: str, source: Path) -> str:
    """Return ``name`` if it is a plain file name: no separator, no ``..``, no NUL, no drive letter.

    Raises:
        ModelError: it is not; ``source`` is named as the file that says so.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0:"):
        raise ModelError(f"{source} names {name!r}, which is not a plain file name; it may lead out of the folder")
    return name


def _weight_map(index: Path) -> dict[str, str]:
    try:
        parsed: Any = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise ModelError(f"{index.parent} holds neither {SINGLE} nor {INDEX}") from fault
    except ValueError as fault:
        raise ModelError(f"{index} is not JSON: {fault}") from fault
    weight_map = parsed.get("weight_map") if isinstance(parsed, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index} holds no weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise ModelError(f"{index}: weight_map[{name!r}] is {shard!r}, not a file name")
    return weight_map
