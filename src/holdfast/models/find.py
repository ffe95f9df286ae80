"""From a model's name to its files: a shipped base, a local folder, or an id on the hub. Needs no torch."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import ModelError, ModelNotFound

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PACKAGE = Path(__file__).parent


def shipped() -> dict[str, Path]:
    """Return the bases that come with the package: name to folder."""
    return {config.parent.name: config.parent for config in sorted(PACKAGE.glob("*/bases/*/config.json"))}


def find(name: str) -> Path | str:
    """Return the folder of a shipped base or of a local model, or the hub id itself (which is not looked up).

    The folder of a run that has ended means the checkpoint that its signal called best; without a signal, its last one.

    Raises:
        ModelNotFound: nothing has this name, or the folder holds no ``config.json``.
    """
    bases = shipped()
    if name in bases:
        return bases[name]
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    chosen = _of_run(folder)
    if chosen is not None:
        return chosen
    if folder.is_dir():
        raise ModelNotFound(f"model {name!r}: the folder holds no config.json{_hint_inside(folder)}")
    if folder.exists():
        raise ModelNotFound(f"model {name!r} is a file; give the folder that holds config.json and *.safetensors")
    if HUB_ID.fullmatch(name) and not name.startswith(("./", "../")):
        return name
    near = difflib.get_close_matches(name.lower(), bases, n=1, cutoff=0.5)
    question = f'Did you mean "{near[0]}"? ' if near else ""
    raise ModelNotFound(
        f"no model {name!r}. {question}Shipped with holdfast: {', '.join(bases) or 'none'}; "
        "else a folder with a config.json, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct."
    )


def exists(name: str) -> bool:
    """Whether `find` would answer. True for anything spelled like a hub id: this asks no network."""
    try:
        find(name)
    except ModelNotFound:
        return False
    return True


def exposure(folder: Path) -> Mapping[str, Any] | None:
    """Return what ``exposure.json`` says the base has seen in pre-training; None without the file.

    Raises:
        ModelError: the file is not a JSON object.
    """
    path = folder / "exposure.json"
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ModelError(f"{path} is not JSON: {fault}") from fault
    if not isinstance(facts, dict):
        raise ModelError(f"{path} must hold a JSON object, found {type(facts).__name__}")
    return facts


def _of_run(folder: Path) -> Path | None:
    """Return the checkpoint that stands for a run; None if the folder is no run's, or holds none."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict):
        return None
    for step in (result.get("best_step"), result.get("steps")):
        checkpoint = folder / f"checkpoint-{step}"
        if step is not None and (checkpoint / "config.json").is_file():
            return checkpoint
    return None


def _hint_inside(folder: Path) -> str:
    inside = sorted(child.parent.name for child in folder.glob("*/config.json"))
    return f"; these folders inside it do: {', '.join(inside[:5])}" if inside else ""
