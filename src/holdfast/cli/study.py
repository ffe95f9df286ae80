"""``holdfast study``: many recipes, one question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def study(
    file: Annotated[Path, typer.Argument(help="A study: a base recipe, axes and seeds.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the study; studies/NAME if not given.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which studies share their runs.")] = Path("runs"),
    jobs: Annotated[str | None, typer.Option(help="Runs at a time: a number, or auto.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "--dry_run", help="List the runs; train nothing.")] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let recipes name outside code (module:Class).")
    ] = False,
) -> None:
    """Train a grid of recipes over seeds; finished runs are skipped, broken-off ones go on."""
    from holdfast.cli.console import console, show_arms
    from holdfast.study import load

    asked = load(file, allow_code=allow_code)
    show_arms(console(), asked.arms)
    if dry_run:
        return
    from holdfast.cli.studying import jobs_of, study_and_show

    study_and_show(
        asked,
        folder=output or Path("runs") / "studies" / file.stem,
        runs=runs,
        jobs=jobs_of(jobs, asked.jobs),
        allow_code=allow_code,
        again=f"holdfast study {file}" + (f" --output {output}" if output else ""),
    )
