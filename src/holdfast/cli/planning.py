"""Plans on a terminal: of one recipe in full, of a study one line an arm."""

from __future__ import annotations

import json as js
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.markup import escape

from holdfast import plan as planning
from holdfast.cli.arguments import Asked
from holdfast.cli.console import console, show, show_plan
from holdfast.recipe import read
from holdfast.report.words import listed

if TYPE_CHECKING:
    from holdfast.recipe import Recipe
    from holdfast.report.prior import Prior
    from holdfast.study.plans import ArmPlan

ROWS_MEASURED = 256
"""Rows whose answers ``--measure`` asks the base about."""
NAMED = 3
"""Arms that a warning names; of more it says how many."""


class Scale(NamedTuple):
    """On what a run is planned.

    Attributes:
        devices: That share one run, its weights sharded; None: one, or as many as the study says.
        tflops: TFLOP/s that each sustains; None if nobody knows.
    """

    devices: int | None
    tflops: float | None


def is_study(place: str) -> bool:
    """Whether a file holds a study: it has ``axes``, or a ``base`` and no model of its own."""
    if not place.endswith((".yaml", ".yml")) or not Path(place).is_file():
        return False
    values = read(place)
    return "axes" in values or ("base" in values and "model_name_or_path" not in values)


def show_recipe(asked: Asked, *, allow_code: bool, scale: Scale, measure: bool, json: bool) -> None:
    """Check a recipe, plan it, and print the plan; with ``measure``, what its base expects of the answers too."""
    recipe = planning.check(asked.values, source=asked.source, allow_code=allow_code)
    made = planning.plan(recipe, allow_code=allow_code, num_processes=scale.devices or 1)
    expected = _prior(recipe, allow_code=allow_code) if measure else None
    if json:
        told = {} if expected is None else {"prior": expected.to_json()}
        typer.echo(js.dumps(made.to_json() | _hours(made, scale) | told, indent=1))
        return
    out = console()
    show_plan(out, made)
    if scale.tflops is not None:
        many = "1 device" if made.processes == 1 else f"{made.processes} devices"
        out.print(
            f"hours: {made.hours(scale.tflops):.3g} on {many} at {scale.tflops:g} TFLOP/s each, moments not counted"
        )
    if expected is not None:
        out.print(escape(expected.in_words()))


def show_study(
    file: str, *, assignments: Sequence[str], quick: bool, allow_code: bool, scale: Scale, json: bool
) -> None:
    """Load a study, plan every arm once, and print the table: the paper's table 1, planned."""
    from holdfast.study import load
    from holdfast.study.plans import plans, plans_table
    from holdfast.study.processes import Spread

    study = load(Path(file), assignments=assignments, quick=quick, allow_code=allow_code)
    spread = None if scale.devices is None else Spread(scale.devices, sharded=scale.devices > 1)
    made = list(plans(study, spread=spread, allow_code=allow_code))
    if json:
        typer.echo(js.dumps([arm.to_json() | _hours(arm.plan, scale) for arm in made], indent=1))
        return
    out = console()
    show(out, plans_table(made, tflops=scale.tflops))
    for warning, names in _warnings(made).items():
        some = listed(names) if len(names) <= NAMED else f"{len(names)} of {len(made)} arms"
        of = "all arms" if len(names) == len(made) else some
        out.print(f"[yellow]warning[/] ({escape(of)}): {escape(warning)}")


def _prior(recipe: Recipe, *, allow_code: bool) -> Prior:
    from holdfast.cli.console import quiet_libraries
    from holdfast.diagnose.tokens import profile
    from holdfast.report.prior import prior

    quiet_libraries()
    models = [recipe.model_name_or_path]
    return prior(profile(recipe, models, rows=ROWS_MEASURED, allow_code=allow_code, said=lambda _: None))


def _hours(made: planning.Plan, scale: Scale) -> dict[str, float]:
    return {} if scale.tflops is None else {"tflops": scale.tflops, "hours": made.hours(scale.tflops)}


def _warnings(made: Sequence[ArmPlan]) -> dict[str, list[str]]:
    """Return each warning with the arms that it concerns."""
    concerned: dict[str, list[str]] = {}
    for arm in made:
        for warning in arm.plan.warnings:
            concerned.setdefault(warning, []).append(arm.name)
    return concerned
