"""The model card of a run folder: what the model is, what it gained and lost, and how to make it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import RunFolderError
from holdfast.recipe import replay_in_words
from holdfast.report import caveats, words
from holdfast.report.compare import arms
from holdfast.report.run_data import RunData
from holdfast.report.tables import table, trained_share

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def card(run: RunData) -> str:
    """Return the card as Markdown with the front matter that model hubs read."""
    groups = arms([run])
    result = table([run])
    recipe = run.recipe
    lines = [
        "---",
        yaml.safe_dump(_front_matter(recipe), sort_keys=False).strip(),
        "---",
        "",
        f"# {_cell(run.name)}",
        "",
        f"Fine-tuned from `{_code(recipe.get('model_name_or_path', '?'))}` by `{_code(_method(recipe))}` "
        f"on {_data(recipe.get('data', {}))}; trained: {_cell(trained_share(groups[0]))}; {_objective(recipe)}"
        f"learning rate {recipe.get('learning_rate', '?')}, "
        f"{run.result.get('steps', '?')} steps, seed {run.seed}.",
        "",
        "## Gained and lost",
        "",
        "| " + " | ".join(result.columns[1:]) + " |",
        "|" + "|".join("---:" if letter == "r" else "---" for letter in result.align[1:]) + "|",
        *("| " + " | ".join(_cell(cell) for cell in row[1:]) + " |" for row in result.rows),
        "",
        *result.notes,
        "",
        "## What this does not show",
        "",
        *(f"- {_cell(line)}" for line in caveats.not_shown(groups)),
        "",
        "## Make it again",
        "",
        "`holdfast train recipe.yaml`, with the `recipe.yaml` beside this file (hash "
        f"`{_code(run.result.get('recipe_hash', '?'))}`, code `{_code(run.result.get('code_version', '?'))}`, base "
        f"`{_code(str(run.result.get('base_fingerprint', '?'))[:16])}`).",
        "Curves, samples and provenance: `report.html`.",
        "",
    ]
    return "\n".join(lines)


def write_card(run: RunData) -> Path:
    """Write ``README.md`` into the run's folder and return its path.

    Raises:
        RunFolderError: it cannot be written.
    """
    path = run.folder / "README.md"
    try:
        path.write_text(card(run), encoding="utf-8")
    except OSError as fault:
        raise RunFolderError(f"cannot write {path}: {fault.strerror}") from fault
    return path


def _front_matter(recipe: Any) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "transformers", "tags": ["holdfast", _method(recipe)]}
    base = str(recipe.get("model_name_or_path", ""))
    # a hub refuses a card whose base_model is no hub id
    if _HUB_ID.fullmatch(base) and not Path(base).exists():
        front["base_model"] = base
    return front


def _data(data: Any) -> str:
    replay = replay_in_words(data)
    told = f" ({_cell(replay)})" if replay else ""
    if data.get("path"):
        return f"`{_code(data['path'])}`{told}"
    return f"`{_code(data.get('environment', '?'))}` under the rule `{_code(data.get('rule', '?'))}`{told}"


def _cell(text: str) -> str:
    """Return text that neither ends a table cell nor starts markup."""
    flat = words.visible(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", flat)


def _code(value: Any) -> str:
    return words.visible(" ".join(str(value).split())).replace("`", "'")


def _objective(recipe: Mapping[str, Any]) -> str:
    return f"objective `{_code(recipe.get('objective', 'nll'))}`, " if _method(recipe) in ("sft", "rft") else ""


def _method(recipe: Mapping[str, Any]) -> str:
    method = recipe.get("method", "sft")
    return str(method.get("name") if isinstance(method, Mapping) else method)
