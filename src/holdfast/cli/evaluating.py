"""``holdfast eval``: score the suites of a recipe once, on any checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL] [RECIPE] [--key value ...]", help="A model, a recipe, or both; recipe keys."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "--config", help="The recipe whose suites are asked.")
    ] = None,
    compare: Annotated[str | None, typer.Option(help="A second model: paired exact test against it.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for records and samples.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let the recipe name outside code (module:Class).")
    ] = False,
) -> None:
    """Score all suites of a recipe once and print a table with n and intervals."""
    from holdfast.cli.arguments import evaluation_values
    from holdfast.plan import check

    asked = evaluation_values(words or [], recipe=recipe)
    checked = check(asked.values, source=asked.source, allow_code=allow_code)
    from holdfast.cli.scoring import score_and_show

    score_and_show(
        checked,
        against=compare,
        output=output,
        allow_code=allow_code,
        again=shlex.join(["holdfast", "eval", *(words or [])]),
    )
