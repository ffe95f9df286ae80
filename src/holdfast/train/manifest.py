"""The list of a checkpoint's files with their hashes, sealed: what tells a whole checkpoint from a damaged one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import CheckpointError, RunFolderError
from holdfast.models.durable import file_facts, fsync, fsync_tree, write_json
from holdfast.train.run_folder import plain_relative

FORMAT = 1
MANIFEST = "manifest.json"


def seal_folder(folder: Path, *, step: int, identity: Mapping[str, str], logs: Mapping[str, Any]) -> None:
    """Make every file durable, then write the manifest over all of them."""
    fsync_tree(folder)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    body = {
        "format": FORMAT,
        "step": step,
        "files": {path.relative_to(folder).as_posix(): file_facts(path) for path in paths},
        "identity": dict(identity),
        "logs": dict(logs),
    }
    write_json(folder / MANIFEST, body | {"sha256": seal(body)})
    fsync(folder)


def verify(path: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest and compare every file with it (about 1 s per GB); return the manifest.

    Raises:
        CheckpointError: anything is missing, different, or a link; or a newer holdfast wrote it.
    """
    manifest = _manifest(path)
    for name, facts in manifest["files"].items():
        file = path / plain_relative(name)
        try:
            if any(parent.is_symlink() for parent in file.parents if path in parent.parents):
                raise CheckpointError(f"{name} lies behind a link")
            found = file_facts(file)
        except OSError as fault:
            raise CheckpointError(f"{name}: {fault.strerror}") from fault
        if found != facts:
            kind = "size" if found["size"] != facts["size"] else "content"
            raise CheckpointError(f"{name} has another {kind} than when it was saved")
    return manifest


def _manifest(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_dir():
        raise CheckpointError("it is a link or a file, not a folder")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        mark = manifest.pop("sha256")
    except OSError as fault:
        raise CheckpointError(f"{MANIFEST}: {fault.strerror}") from fault
    except (ValueError, KeyError, AttributeError, TypeError) as fault:
        raise CheckpointError(f"{MANIFEST} cannot be read") from fault
    if manifest.get("format", 0) > FORMAT and mark == seal(manifest):
        raise CheckpointError(f"a newer holdfast wrote it (format {manifest['format']}, this one reads {FORMAT})")
    if mark != seal(manifest):
        raise CheckpointError(f"{MANIFEST} has changed since it was written")
    if f"checkpoint-{manifest['step']}" != path.name:
        raise CheckpointError(f"{MANIFEST} is of step {manifest['step']}")
    return dict(manifest)


def looks_whole(path: Path) -> bool:
    """Whether the manifest is sealed and all files have their sizes; contents are not read."""
    try:
        manifest = _manifest(path)
        return all(
            (path / plain_relative(name)).stat().st_size == facts["size"] for name, facts in manifest["files"].items()
        )
    except (CheckpointError, OSError):
        return False


def seal(body: Mapping[str, Any]) -> str:
    """Return the hash that makes a manifest its own witness."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_other(manifest: Mapping[str, Any], path: Path, identity: Mapping[str, str]) -> None:
    """Raise `RunFolderError`, with all differences, unless a checkpoint is of the run that ``identity`` says."""
    there = manifest["identity"]
    faults = [
        f"{key}: {there.get(key, 'not recorded')} there, {identity.get(key, 'not given')} here"
        for key in sorted(there.keys() | identity.keys())
        if there.get(key) != identity.get(key)
    ]
    if faults:
        raise RunFolderError(
            f"{path} belongs to a different run: {'; '.join(faults)}. Choose another run folder, or undo the change."
        )
