"""``holdfast plan``: what a recipe, or each arm of a study, will train, cost and need, before anything is trained."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECIPE|STUDY [--key value ...]", help="The recipe, or a study; any recipe key."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="The recipe, as a flag.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="Devices that share one run: its rows, and its weights by FSDP 2. Of a study: its own."
        ),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="TFLOP/s that a device sustains (its peak times its utilization): prints hours."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Load the base and say how much it expects the answers already, so which alpha."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Of a study: the small version that its file describes.")
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let the recipe name outside code (module:Class).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print plain JSON.")] = False,
) -> None:
    """Show what a recipe, or each arm of a study, will train, cost and need. Trains nothing, writes nothing."""
    from holdfast.cli import planning
    from holdfast.cli.arguments import recipe_values, split
    from holdfast.errors import UserError

    arguments = split(words or [])
    if not config and len(arguments.places) == 1 and planning.is_study(arguments.places[0]):
        if measure:
            raise UserError("--measure is for a recipe; of a study it would load every arm's base")
        planning.show_study(
            arguments.places[0],
            assignments=arguments.assignments,
            quick=quick,
            allow_code=allow_code,
            scale=planning.Scale(devices, tflops),
            json=json,
        )
        return
    if quick:
        raise UserError("--quick is for a study; a recipe has no small version")
    planning.show_recipe(
        recipe_values(words or [], config=config, verb="plan"),
        allow_code=allow_code,
        scale=planning.Scale(devices, tflops),
        measure=measure,
        json=json,
    )
