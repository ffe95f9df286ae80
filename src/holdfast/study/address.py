"""The address of a run: a hash of all that its numbers depend on, so that studies that need the same run share it."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import holdfast
from holdfast.evaluate.math_suites import find_suite
from holdfast.models import find
from holdfast.recipe import Recipe
from holdfast.study.processes import Spread

WORDS_ONLY = ("cli", "report", "study", "plan", "interop")
"""Parts of the package whose code changes no number of a run."""


def address(
    recipe: Recipe,
    spread: Spread = Spread(),  # noqa: B008  (frozen)
    *,
    base: str | None = None,
    toward: str | None = None,
) -> str:
    """Return 16 hex digits over the recipe, its processes, the base model's files, the user's data, and the code.

    Args:
        recipe, spread: Of the run.
        base: What stands for the model's files and its place, where they are not there yet.
        toward: The same for the model that it is healed towards.
    """
    identity = recipe.identity()
    if recipe.heal is not None:
        source = base_fingerprint(recipe.heal["toward"]) if toward is None else toward
        identity = {**identity, "heal": {**recipe.heal, "toward": source}}
    facts: dict[str, Any] = {
        "recipe": identity if base is None else {**identity, "model_name_or_path": None},
        "base": base_fingerprint(recipe.model_name_or_path) if base is None else base,
        "data": {path: _data(path) for path in sorted(_paths(recipe))},
        "code": code_version(),
    }
    if spread.processes > 1:
        facts["spread"] = spread.to_json()
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@cache
def base_fingerprint(name: str) -> str:
    """Return a hash over the files of a local model, or the hub id itself (its revision is part of the recipe)."""
    place = find.find(name)
    if isinstance(place, str):
        return place
    files = sorted(file for pattern in ("*.json", "*.safetensors", "*.jinja") for file in place.glob(pattern))
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name} {_content(file)}\n".encode())
    return whole.hexdigest()


@cache
def code_version() -> str:
    """Return the version of holdfast with a hash over the sources that numbers depend on."""
    root = Path(holdfast.__file__).parent
    whole = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root)
        if place.parts[0] not in WORDS_ONLY:
            whole.update(f"{place.as_posix()} {_content(file)}\n".encode())
    return f"{holdfast.__version__}+{whole.hexdigest()[:12]}"


def _paths(recipe: Recipe) -> set[str]:
    replay = [] if recipe.data.replay is None else [recipe.data.replay]
    blocks = [recipe.data, *replay, *recipe.suites.values()]
    return {path for block in blocks if (path := block.path)}


def _data(path: str) -> str:
    """Return a hash over a file, or over a folder's files; for a named suite its source, which names the content."""
    suite, place = find_suite(path), Path(path).expanduser()
    if suite is not None:
        return suite.source
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return _content(place) if files == [place] else hashlib.sha256("".join(map(_content, files)).encode()).hexdigest()


def _content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
