"""A spectral diagnosis with everything a terminal shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import typer

from holdfast.cli.console import console, quiet_libraries, show
from holdfast.diagnose.hidden_states import hidden_likeness
from holdfast.diagnose.spectral import Asked, Tuned, checkpoints_of, diagnose
from holdfast.errors import UserError
from holdfast.models.durable import write_json
from holdfast.plan import check
from holdfast.recipe import read
from holdfast.report import load_runs, spectral_page, spectral_tables
from holdfast.report.spectral_profile import Diagnosis, Success
from holdfast.spectral.cache import FactorCache, default_folder
from holdfast.spectral.counts import check_share
from holdfast.train.processes import accelerator


def show_spectral(
    base: str,
    tuned: Sequence[str],
    *,
    k: str,
    bands: bool,
    exact: bool,
    against: str | None,
    hidden: str | None,
    cache: Path | None,
    output: Path | None,
    allow_code: bool,
) -> None:
    """Measure every matrix of every tuned model, print tables, write a page and JSON.

    Args:
        base: The model that training began with.
        tuned: Models, or run folders, which stand for their checkpoints.
        k: Directions at either end, as it was written.
        bands, exact: See `holdfast.diagnose.spectral.Asked`.
        against: Another model tuned from the base.
        hidden: A recipe whose suites' prompts are asked.
        cache: Folder of singular systems; the user's if None.
        output: Folder for the page and the numbers.
        allow_code: Whether the recipe may name outside code.

    Raises:
        UserError: a model or a recipe cannot be used, or the folder cannot be written.
    """
    asked = Asked(_share(k), exact=exact, bands=bands)
    checkpoints = [one for place in tuned for one in checkpoints_of(place)]
    recipe = None if hidden is None else check(read(hidden), source=hidden, allow_code=allow_code)
    quiet_libraries()
    # Decompositions need float64, which Apple's accelerators lack; models run there.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kept = FactorCache(cache or default_folder())
    found = diagnose(base, checkpoints, asked, other=against, cache=kept, device=device, said=_said)
    found = replace(found, success=tuple(one for place in tuned for one in _success(place)))
    if recipe is not None:
        likeness = hidden_likeness(
            recipe, base, checkpoints, device=accelerator().device, allow_code=allow_code, said=_said
        )
        found = replace(found, hidden=likeness)
    typer.echo(f"factors of the base: {kept.found} found, {kept.made} made")
    _print(found)
    folder = output or Path("runs") / f"diagnose-{_named(checkpoints[-1])}"
    page = spectral_page.write(found, folder / "spectral.html", title="Where in the weights training went")
    write_json(folder / "spectral.json", found.to_json())
    typer.echo(f"page: {page}")


def _print(found: Diagnosis) -> None:
    out = console()
    tables = [spectral_tables.by_role(found.last), spectral_tables.by_layer(found.last)]
    tables += [spectral_tables.most_moved(found.last), spectral_tables.apart(found.last)]
    if len(found.checkpoints) > 1 or found.success:
        tables = [spectral_tables.trajectory(found), spectral_tables.success(found), *tables]
    if found.other is not None:
        tables.append(spectral_tables.against(found))
    if found.hidden:
        tables.append(spectral_tables.hidden(found))
    for table in tables:
        if table.rows:
            show(out, table)
            out.print()
    for warning in spectral_tables.warnings(found):
        typer.echo(f"warning: {warning}")


def _success(place: str) -> list[Success]:
    """Return what the suites of a run say of its moments; nothing of a model that stands alone."""
    folder = Path(place)
    if not (folder / "records.jsonl").is_file():
        return []
    (run,) = load_runs(folder)
    found = []
    for suite in run.suites.values():
        for record in run.records:
            estimate = record.estimates.get(f"eval_{suite.name}_success")
            if estimate is not None:
                found.append(Success(suite.name, suite.purpose, record.step, estimate))
    return found


def _share(written: str) -> float | int:
    try:
        value = float(written) if "." in written or "e" in written.lower() else int(written)
        check_share("--k", value)
    except ValueError as fault:
        raise UserError(f"--k is a share in (0, 1] such as 0.2, or a number of directions, got {written!r}") from fault
    return value


def _named(tuned: Tuned) -> str:
    folder = Path(tuned.place).resolve()
    return f"{folder.parent.name}-{folder.name}" if Path(tuned.place).exists() else tuned.place.replace("/", "-")


def _said(line: str) -> None:
    typer.echo(line)
