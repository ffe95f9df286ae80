"""``holdfast plan``: what a recipe will train, cost and need, before anything is trained."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RECIPE [--key value ...]", help="The recipe; any of its keys.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="The recipe, as a flag.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let the recipe name outside code (module:Class).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print plain JSON.")] = False,
) -> None:
    """Show what a recipe will train, cost and need. Trains nothing, writes nothing."""
    from holdfast import plan as planning
    from holdfast.cli.arguments import recipe_values

    asked = recipe_values(words or [], config=config, verb="plan")
    recipe = planning.check(asked.values, source=asked.source, allow_code=allow_code)
    made = planning.plan(recipe, allow_code=allow_code)
    if json:
        from json import dumps

        typer.echo(dumps(made.to_json(), indent=1))
    else:
        from holdfast.cli.console import console, show_plan

        show_plan(console(), made)
