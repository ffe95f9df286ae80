"""``holdfast report``: run folders or a study folder into one HTML page, or into compact records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    paths: Annotated[
        list[Path], typer.Argument(help="Run folders, study folders, compact records, or folders of run folders.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to; that of the first path if not given.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write compact records of finished runs into this folder (below 1 MB a study), and no page."),
    ] = None,
) -> None:
    """Write one self-contained HTML page about runs, and print their results."""
    from holdfast.cli.console import console, show
    from holdfast.report import load_runs, table, write, write_records

    runs = load_runs(paths)
    if export is not None:
        typer.echo(f"records: {write_records(runs, export)}")
        return
    show(console(), table(runs))
    page = write(runs, output or (paths[0] if paths[0].is_dir() else paths[0].parent))
    typer.echo(f"report: {page}")
