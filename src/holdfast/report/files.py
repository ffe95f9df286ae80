"""Files of run folders and records as they are read: JSON, JSON lines, YAML; every fault names its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import RunFolderError
from holdfast.records import Record


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        RunFolderError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RunFolderError(f"cannot read {path}: {fault.__class__.__name__}: {fault}") from fault


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON-lines file. A last line that was broken off while it was written is left out.

    Raises:
        RunFolderError: another line is not a JSON object.
    """
    lines = read_text(path).split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as fault:
            if number == len(lines):
                break
            raise RunFolderError(f"{path}:{number} is not JSON: {fault}") from fault
        if not isinstance(row, dict):
            raise RunFolderError(f"{path}:{number} is not a JSON object but {type(row).__name__}")
        rows.append(row)
    return rows


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; None if there is no such file.

    Raises:
        RunFolderError: it is not JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as fault:
        raise RunFolderError(f"{path} is not JSON: {fault}") from fault


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; empty if there is no such file.

    Raises:
        RunFolderError: it is not YAML.
    """
    if not path.is_file():
        return {}
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as fault:
        raise RunFolderError(f"{path} is not YAML: {fault}") from fault
    return values if isinstance(values, dict) else {}


def read_records(path: Path) -> tuple[Record, ...]:
    """Return the records of a ``records.jsonl``, by step; empty if there is no such file.

    Raises:
        RunFolderError: a line is no record.
    """
    if not path.is_file():
        return ()
    try:
        records = [Record.from_json(row) for row in read_lines(path)]
    except (KeyError, TypeError, ValueError) as fault:
        raise RunFolderError(f"{path} holds a line that is no record: {fault.__class__.__name__}: {fault}") from fault
    return tuple(sorted(records, key=lambda record: record.step))
