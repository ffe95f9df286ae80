"""Flags that are recipe keys: ``--learning_rate 3e-4``, ``--budget.steps 40`` and ``seed=1`` become assignments."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.errors import UserError, did_you_mean
from holdfast.recipe import Recipe, override, read

_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.*-]*=")
_SWITCHES = frozenset(name for name, field in Recipe.model_fields.items() if field.annotation is bool)
_TRUTH = frozenset({"true", "false"})
_OWN = (
    "against", "allow_code", "bands", "cache", "compare", "config", "dry_run", "exact", "help", "hidden", "json",
    "output", "recipe", "rows", "tokens",
)  # fmt: skip
"""Flags that are no recipe keys; Typer takes them out before we see the words, unless they are misspelled."""


class Arguments(NamedTuple):
    """What a command line holds beside the verb's own options.

    Attributes:
        places: Paths and names, in order.
        assignments: ``key=value`` for `holdfast.recipe.override`, in order: the last one wins.
    """

    places: tuple[str, ...]
    assignments: tuple[str, ...]


def split(words: Sequence[str]) -> Arguments:
    """Part the words of a command line into places and assignments.

    Dashes in a key mean underscores. A switch such as ``--gradient_checkpointing`` needs no value.

    Example:
        >>> split(["r.yaml", "--learning-rate", "3e-4", "seed=1"])
        Arguments(places=('r.yaml',), assignments=('learning_rate=3e-4', 'seed=1'))

    Raises:
        UserError: a flag has no value, or is a misspelled flag that is no recipe key.
    """
    places: list[str] = []
    assignments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            (assignments if _ASSIGNMENT.match(word) else places).append(word)
            continue
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        _refuse_misspelled(key)
        if not equals:
            if key in _SWITCHES and (not rest or rest[0].lower() not in _TRUTH):
                value = "true"
            elif not rest or rest[0].startswith("--"):
                raise UserError(f"--{key} needs a value: --{key} VALUE")
            else:
                value = rest.pop(0)
        assignments.append(f"{key}={value}")
    return Arguments(tuple(places), tuple(assignments))


def _refuse_misspelled(key: str) -> None:
    """Misspelled recipe keys are left to the recipe's own check, which names all of its faults at once."""
    if key in _OWN:
        meant = difflib.get_close_matches(key, [name for name in Recipe.model_fields if name.startswith(key)], n=1)
        raise UserError(f"no such flag here: --{key}. {f'Did you mean --{meant[0]}?' if meant else ''}".rstrip())
    near = difflib.get_close_matches(key, [*Recipe.model_fields, *_OWN], n=1, cutoff=0.6)
    if near and near[0] in _OWN:
        raise UserError(f"no such flag: --{key}. Did you mean --{near[0]}?")


def refuse_flags(words: Sequence[str], *, verb: str) -> None:
    """Refuse flags that a verb without recipe keys does not know.

    Raises:
        UserError: there is one.
    """
    for word in words:
        if word.startswith("-"):
            key = word.lstrip("-").partition("=")[0].replace("-", "_")
            raise UserError(f"holdfast {verb} has no flag {word}. {did_you_mean(key, _OWN)}".rstrip())


class Asked(NamedTuple):
    """A recipe as a command line asks for it: where from, and its values with the flags applied."""

    source: str
    values: Mapping[str, Any]


def recipe_values(words: Sequence[str], *, config: str | None, verb: str) -> Asked:
    """Read the one recipe that a command line names and apply its flags, which win over the file.

    Raises:
        UserError: no recipe is named, or more than one.
        RecipeError: the file cannot be read, or a flag cannot be applied.
    """
    arguments = split(words)
    places = [*arguments.places, *([config] if config else [])]
    if len(places) != 1:
        found = f"found {len(places)}: {' '.join(places)}" if places else "found none"
        raise UserError(f"holdfast {verb} needs one recipe, {found}. Write: holdfast {verb} recipe.yaml --key value")
    source = places[0]
    return Asked(source, override(read(source), arguments.assignments, source=source))


def evaluation_values(words: Sequence[str], *, recipe: str | None) -> Asked:
    """Read the recipe, and perhaps the model, that an evaluation names: ``MODEL --recipe R``, ``MODEL R`` or ``R``.

    A word that ends in ``.yaml`` or ``.yml`` is the recipe. A run folder is a model and a recipe in one.

    Raises:
        UserError: there is no recipe, or more than one of anything.
        RecipeError: the file cannot be read, or a flag cannot be applied.
    """
    arguments = split(words)
    recipes = [*(word for word in arguments.places if word.endswith((".yaml", ".yml"))), *([recipe] if recipe else [])]
    models = [word for word in arguments.places if not word.endswith((".yaml", ".yml"))]
    if len(models) == 1 and not recipes and (found := recipe_beside(Path(models[0]))):
        recipes = [str(found)]
    if len(recipes) != 1 or len(models) > 1:
        found_words = ", ".join([*recipes, *models]) or "nothing"
        raise UserError(
            "holdfast eval needs one recipe (whose suites are asked) and at most one model, "
            f"found {found_words}. Write: holdfast eval MODEL --recipe recipe.yaml"
        )
    changes = [*(f"model_name_or_path={json.dumps(model)}" for model in models), *arguments.assignments]
    return Asked(recipes[0], override(read(recipes[0]), changes, source=recipes[0]))


def diagnosis_values(words: Sequence[str]) -> tuple[Asked, list[str]]:
    """Read the recipe and the models that a diagnosis names: ``RECIPE MODEL ...``, or run folders alone.

    A word that ends in ``.yaml`` or ``.yml`` is the recipe; without one the first run folder's own is taken.

    Raises:
        UserError: there is no recipe, or more than one, or no model.
        RecipeError: the file cannot be read, or a flag cannot be applied.
    """
    arguments = split(words)
    recipes = [word for word in arguments.places if word.endswith((".yaml", ".yml"))]
    models = [word for word in arguments.places if not word.endswith((".yaml", ".yml"))]
    if models and not recipes and (found := recipe_beside(Path(models[0]))):
        recipes = [str(found)]
    if len(recipes) != 1 or not models:
        found_words = ", ".join([*recipes, *models]) or "nothing"
        raise UserError(
            "holdfast diagnose needs one recipe (whose rows are asked) and at least one model that was trained, "
            f"found {found_words}. Write: holdfast diagnose --tokens recipe.yaml runs/my-run/checkpoint-160"
        )
    return Asked(recipes[0], override(read(recipes[0]), arguments.assignments, source=recipes[0])), models


def recipe_beside(checkpoint: Path) -> Path | None:
    """Return the resolved recipe of the run that a checkpoint folder belongs to; None if there is none."""
    for folder in (checkpoint, checkpoint.parent):
        if (folder / "recipe.yaml").is_file():
            return folder / "recipe.yaml"
    return None
