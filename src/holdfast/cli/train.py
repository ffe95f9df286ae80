"""``holdfast train``: one recipe, one run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RECIPE [--key value ...]", help="The recipe; any of its keys.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="The recipe, as a flag.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Print the resolved recipe; train nothing.")
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let the recipe name outside code (module:Class).")
    ] = False,
    base_cache: Annotated[
        Path | None, typer.Option("--base-cache", "--base_cache", hidden=True, help="Shared scores of the base.")
    ] = None,
) -> None:
    """Train as the recipe says, scoring its suites meanwhile. A run that was broken off goes on where it stood."""
    from holdfast.cli.arguments import recipe_values
    from holdfast.plan import check

    asked = recipe_values(words or [], config=config, verb="train")
    recipe = check(asked.values, source=asked.source, allow_code=allow_code)
    if dry_run:
        import yaml

        typer.echo(yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True), nl=False)
        return
    from holdfast.cli.training import train_and_show

    result = train_and_show(
        recipe,
        folder=Path(recipe.output_dir or f"runs/{Path(asked.source).stem}-{recipe.hash()[:8]}"),
        base_cache=base_cache,
        allow_code=allow_code,
        again=shlex.join(["holdfast", "train", *(words or []), *(["--config", config] if config else [])]),
    )
    if result.status == "interrupted":
        raise typer.Exit(130)
