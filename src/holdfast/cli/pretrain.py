"""``holdfast pretrain``: make a small base model from scratch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="A pre-training recipe; those of the shipped bases lie beside them.")],
    output: Annotated[
        Path, typer.Option(help="Folder for the base model; must not exist yet or be an unfinished one.")
    ],
) -> None:
    """Pre-train a base model from scratch on the environments, as its recipe says."""
    from holdfast.cli.console import quiet_libraries
    from holdfast.cli.progress import watched
    from holdfast.train.pretrain import pretrain as make

    quiet_libraries()
    with watched(again=shlex.join(["holdfast", "pretrain", str(recipe), "--output", str(output)])) as progress:
        make(recipe, output, progress=progress)
    typer.echo(f"base model: {output}")
