"""A run with everything a terminal shows of it: plan, progress, results, and where they lie."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import typer

from holdfast.cli.console import console, quiet_libraries, show, show_plan
from holdfast.cli.progress import watched
from holdfast.plan import plan
from holdfast.recipe import Recipe
from holdfast.report import load_runs, table
from holdfast.run import RunResult, run
from holdfast.train.processes import processes, sharded
from holdfast.train.run_folder import lock


def train_and_show(recipe: Recipe, *, folder: Path, base_cache: Path | None, allow_code: bool, again: str) -> RunResult:
    """Carry out a run, showing plan, progress, results and places.

    Args:
        recipe: Checked.
        folder: The run folder.
        base_cache: Folder of shared scores of the base.
        allow_code: Whether the recipe may name outside code.
        again: The command that goes on with a run that is broken off.
    """
    quiet_libraries()
    everyone = processes()
    with everyone.together(), lock(folder) if everyone.is_main else nullcontext():
        pass  # a folder that cannot be written, or is in use, is told before anything takes time
    planned = plan(recipe, allow_code=allow_code, num_processes=everyone.count, sharded=sharded())
    if not everyone.is_main:
        return run(recipe, folder=folder, planned=planned, base_cache=base_cache, allow_code=allow_code)
    out = console()
    show_plan(out, planned)
    with watched(again=again) as progress:
        result = run(
            recipe, folder=folder, planned=planned, progress=progress, base_cache=base_cache, allow_code=allow_code
        )
    if result.status == "interrupted":
        typer.echo(f"interrupted at step {result.steps}; the run is saved in {folder}. To go on: {again}", err=True)
        return result
    show(out, table(load_runs(folder)))
    for name, place in places(result):
        typer.echo(f"{name}: {place}")
    return result


def places(result: RunResult) -> list[tuple[str, Path]]:
    """Return what a run left to look at, by name; the best checkpoint is the one that its signal chose."""
    decision = result.records[-1].decision if result.records else None
    best = None if decision is None else decision.best_step
    named = [
        ("report", result.folder / "report.html"),
        ("checkpoint", result.folder / f"checkpoint-{result.steps}"),
        *([("best checkpoint", result.folder / f"checkpoint-{best}")] if best is not None else []),
    ]
    return [(name, place) for name, place in named if place.exists()]
