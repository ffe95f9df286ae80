"""Files and folders that are whole or absent, whatever kills the process or the power.

The order is always: write, make durable (fsync), then let the name appear (one rename), then make the name durable.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yield a private folder beside ``folder``; on success it takes that name in one rename, else it is removed.

    All files are to be durable before the block ends (`fsync_tree`); the rename is made durable here. A killed process
    leaves ``.tmp-<name>-<pid>`` behind and nothing under the name itself.

    Raises:
        OSError: the disk refuses, or ``folder`` already exists and is not empty.
    """
    private = folder.parent / f".tmp-{folder.name}-{os.getpid()}"
    if private.exists():
        shutil.rmtree(private)
    private.mkdir()
    try:
        yield private
        private.rename(folder)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise
    fsync(folder.parent)


def discard(folder: Path) -> None:
    """Remove a folder so that it never looks whole while it is half gone: first its name goes, then its files."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
        return
    aside = folder.parent / f".old-{folder.name}-{os.getpid()}"
    if aside.exists():
        shutil.rmtree(aside)
    folder.rename(aside)
    fsync(folder.parent)
    shutil.rmtree(aside)


def remove_litter(folder: Path, *, of: str | None = None) -> list[Path]:
    """Remove what killed processes left unfinished or discarded; return it. What belongs to a living one stays.

    Args:
        folder: In which names were to appear.
        of: The name that was to appear; None: any.
    """
    name = ".*" if of is None else re.escape(of)
    removed = []
    for path in sorted(folder.glob(".*")):
        match = re.fullmatch(rf"\.(?:tmp|old)-{name}-(\d+)", path.name)
        if match is None or _is_another_living(int(match[1])):
            continue
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)
        removed.append(path)
    return removed


def write_json(path: Path, value: Any) -> None:
    """Write durable JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def write_whole(path: Path, text: str) -> None:
    """Write a durable file that appears whole or not at all, in the place of an older one.

    A killed process leaves ``.tmp-<name>-<pid>`` behind.
    """
    private = path.parent / f".tmp-{path.name}-{os.getpid()}"
    try:
        with private.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        private.replace(path)
    except BaseException:
        private.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Ask the kernel to put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """`fsync` every file below a folder, then the folders, deepest first, itself last."""
    paths = sorted(folder.rglob("*"), key=lambda path: -len(path.parts))
    for path in [path for path in paths if path.is_file()] + [path for path in paths if path.is_dir()] + [folder]:
        fsync(path)


def file_facts(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file; a link is not followed (OSError)."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"size": stream.tell(), "sha256": digest}


def _is_another_living(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
