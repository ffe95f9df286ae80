"""Where a run stands, told from its folder: ended, broken off, or in another process's hands. Imports no torch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import RunFolderError

ENDED = ("finished", "stopped")
"""Statuses of ``result.json`` after which there is nothing left to do."""


def status_of(folder: Path) -> str | None:
    """Return the status that a run folder's ``result.json`` tells; None if the run has not ended yet."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise RunFolderError(
            f"{folder / 'result.json'} is not JSON: {fault}; remove the folder to run it again"
        ) from fault
    return str(result["status"]) if isinstance(result, Mapping) and "status" in result else None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder, the newest last."""
    found = (path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit())
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def threads_of(folder: Path) -> int | None:
    """Return the threads with which a broken-off run began: it goes on bit for bit only with as many."""
    for checkpoint in checkpoints(folder)[-1:]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))["identity"]["threads"])
    return None


def in_use(folder: Path) -> bool:
    """Whether another process holds the lock of a run folder (`holdfast.train.run_folder.lock`)."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
