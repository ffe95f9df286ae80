"""``holdfast interactions``: what the words of one prompt do together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def interactions(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model: a name, a folder, a checkpoint of a run.")],
    prompt: Annotated[str, typer.Option(help="The user's text, whose words play.")],
    target: Annotated[
        str | None, typer.Option(help="What the answer begins with; else the model's own answer is watched.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="What MODEL was trained from, shown beside it.")] = None,
    players: Annotated[int, typer.Option(min=2, max=12, help="Words that play, at most.")] = 8,
    masking: Annotated[
        str, typer.Option(help="In the place of a masked word: token, mean, learned or attention.")
    ] = "token",
    output: Annotated[Path | None, typer.Option(help="Folder for the page, its figure and the numbers.")] = None,
) -> None:
    """Print and draw the strongest interactions between the words of one prompt."""
    from holdfast.cli.interacting import show_interactions

    show_interactions(model, prompt, target=target, base=base, players=players, masking=masking, output=output)
