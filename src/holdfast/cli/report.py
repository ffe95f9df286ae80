"""``holdfast report``: run folders or a study folder into one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    paths: Annotated[list[Path], typer.Argument(help="Run folders, a study folder, or a folder of run folders.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; that of the first path if not given.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about runs, and print their results."""
    from holdfast.cli.console import console, show
    from holdfast.report import load_runs, table, write

    runs = load_runs(paths)
    show(console(), table(runs))
    page = write(runs, output or (paths[0] if paths[0].is_dir() else paths[0].parent))
    typer.echo(f"report: {page}")
