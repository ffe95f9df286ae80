"""The run folder's discipline: one writer, logs that can be cut back, folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import CheckpointError, RunFolderError
from holdfast.models.durable import file_facts, fsync
from holdfast.models.durable import remove_litter as remove_litter

LOGS = ("metrics.jsonl", "records.jsonl", "costs.jsonl", "samples/**/*.jsonl", "probes/*.jsonl")
"""What grows while a run trains, as globs below the run folder."""


@contextmanager
def lock(run_folder: Path) -> Iterator[None]:
    """Be the only writer of a run folder. The kernel frees the lock when the process dies, however it dies.

    Raises:
        RunFolderError: another process holds the lock (pid and host are named), or the folder cannot be written.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as fault:
        raise RunFolderError(f"run folder {run_folder} cannot be written: {fault.strerror}; choose another") from fault
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip() or "unknown"
            raise RunFolderError(
                f"run folder {run_folder} is in use by another run ({holder}); wait, stop it, or choose another folder"
            ) from fault
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def run_logs(run_folder: Path) -> list[Path]:
    """Return the logs that exist in a run folder, sorted."""
    return sorted(path for pattern in LOGS for path in run_folder.glob(pattern) if path.is_file())


def pin_logs(run_folder: Path, logs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Make logs durable and return length and SHA-256 of each, by its path below the run folder."""
    pins = {}
    for path in logs:
        fsync(path)
        pins[path.relative_to(run_folder).as_posix()] = file_facts(path)
    return pins


def cut_logs(run_folder: Path, pins: Mapping[str, Mapping[str, Any]]) -> None:
    """Cut each log back to its pinned length, and remove the logs that did not exist when the pins were taken.

    Raises:
        CheckpointError: a log is shorter than pinned, or its pinned part has changed. Nothing is cut then.
    """
    for name, pin in pins.items():
        path = run_folder / plain_relative(name)
        size = path.stat().st_size if path.is_file() else 0
        if size < pin["size"]:
            raise CheckpointError(f"{path} has {size} bytes, the checkpoint was saved when it had {pin['size']}")
        if _digest_of_start(path, pin["size"]) != pin["sha256"]:
            raise CheckpointError(f"the first {pin['size']} bytes of {path} are not those of the checkpoint's run")
    for name, pin in pins.items():
        path = run_folder / name
        if path.stat().st_size > pin["size"]:
            os.truncate(path, pin["size"])
            fsync(path)
    for path in run_logs(run_folder):
        if path.relative_to(run_folder).as_posix() not in pins:
            path.unlink()


def plain_relative(name: str) -> str:
    """Return a path from a manifest if it stays below its folder.

    Raises:
        CheckpointError: it is absolute, or climbs.
    """
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise CheckpointError(f"{name!r} is not a path below the folder")
    return name


def free_bytes(folder: Path) -> int | None:
    """Return the free space of the folder's file system; None if that cannot be asked."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def _digest_of_start(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    left = size
    with path.open("rb") as stream:
        while left:
            block = stream.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
