"""A diagnosis with everything a terminal shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from holdfast.cli.console import console, quiet_libraries, show
from holdfast.diagnose.tokens import profile
from holdfast.models.durable import write_json
from holdfast.recipe import Recipe
from holdfast.report import token_profile


def show_tokens(recipe: Recipe, models: Sequence[str], *, rows: int, output: Path | None, allow_code: bool) -> None:
    """Profile the target tokens under the recipe's base and ``models``; print tables, write a page and JSON.

    Raises:
        UserError: a model or the rows cannot be used, or the folder cannot be written.
    """
    quiet_libraries()
    folder = output or Path("runs") / f"tokens-{recipe.hash()[:8]}"
    found = profile(
        recipe,
        [recipe.model_name_or_path, *models],
        rows=rows,
        allow_code=allow_code,
        said=lambda line: typer.echo(line),
    )
    out = console()
    show(out, token_profile.ends(found))
    show(out, token_profile.by_kind(found))
    for name in found.tuned:
        show(out, token_profile.moved(found, name))
    page = token_profile.write(found, folder / "tokens.html", title="Target tokens before and after")
    write_json(folder / "tokens.json", token_profile.to_json(found))
    typer.echo(f"page: {page}")
