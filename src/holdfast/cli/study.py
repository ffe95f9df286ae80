"""``holdfast study``: many recipes, one question."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import UserError


def study(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY [--key value ...]", help="A study: a base recipe, axes and seeds; recipe keys."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the study; studies/NAME if not given.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which studies share their runs.")] = Path("runs"),
    jobs: Annotated[str | None, typer.Option(help="Runs at a time: a number, or auto.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Send the runs as jobs: slurm; or local, to try it. --cluster.OPTION VALUE.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "--dry_run", help="List the runs; train nothing.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The small version that the study file describes.")] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let recipes name outside code (module:Class).")
    ] = False,
) -> None:
    """Train a grid of recipes over seeds; finished runs are skipped, broken-off ones go on.

    Recipe keys given as flags change every arm: ``--model_name_or_path Qwen/Qwen2.5-0.5B-Instruct``, ``--seeds [0]``.
    """
    from holdfast.cli.arguments import split
    from holdfast.cli.console import console, show_arms
    from holdfast.study import load

    arguments = split(words or [])
    if len(arguments.places) != 1:
        raise UserError(f"holdfast study needs one study file, found {len(arguments.places)}")
    file = Path(arguments.places[0])
    of_cluster = [word for word in arguments.assignments if word.startswith("cluster.")]
    changes = [word for word in arguments.assignments if word not in of_cluster]
    asked = load(file, assignments=changes, quick=quick, allow_code=allow_code, runs=runs)
    show_arms(console(), asked.arms)
    if dry_run:
        return
    from holdfast.cli.studying import cluster_of, jobs_of, study_and_show

    own = [
        *(["--quick"] if quick else []),
        *(["--output", str(output)] if output else []),
        *(["--cluster", cluster] if cluster else []),
    ]
    study_and_show(
        asked,
        folder=output or Path("runs") / "studies" / (f"{file.stem}-quick" if quick else file.stem),
        runs=runs,
        jobs=jobs_of(jobs, asked.jobs),
        cluster=cluster_of(cluster, of_cluster),
        allow_code=allow_code,
        again=shlex.join(["holdfast", "study", *(words or []), *own]),
    )
