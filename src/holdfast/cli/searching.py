"""A search for a healer with everything a terminal shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from holdfast.cli.arguments import recipe_beside
from holdfast.cli.console import console, quiet_libraries, show
from holdfast.errors import UserError
from holdfast.heal.candidates import candidates
from holdfast.heal.healing import Healing, healing_of
from holdfast.heal.search import search, told
from holdfast.models.durable import write_json
from holdfast.models.pairs import ModelPair
from holdfast.plan import check
from holdfast.recipe import Recipe, override, read
from holdfast.report import heal_page
from holdfast.spectral.cache import FactorCache, default_folder
from holdfast.train.processes import accelerator


def search_and_show(
    base: str,
    tuned: str,
    *,
    recipe: str | None,
    healers: Sequence[str],
    id_budget: float,
    cache: Path | None,
    output: Path,
    allow_code: bool,
) -> Healing | None:
    """Search, print tables, write a page and JSON, and return the choice; None if nothing keeps within the budget.

    Args:
        base, tuned: The two models.
        recipe: Whose suites are asked; that of the run that ``tuned`` belongs to if None.
        healers: Names of healers to try; all that have a grid if empty.
        id_budget: Success in distribution that may be lost, as a share.
        cache: Folder of singular systems; the user's if None.
        output: Folder for the page and the numbers.
        allow_code: Whether the recipe may name outside code.

    Raises:
        UserError: there is no recipe, or a model, suite or healer cannot be used.
    """
    asked = _recipe(tuned, recipe, allow_code=allow_code)
    tries = candidates(healers)
    quiet_libraries()
    found = search(
        ModelPair(base, tuned),
        asked,
        tries,
        id_budget=id_budget,
        cache=FactorCache(cache or default_folder()),
        device=accelerator().device,
        allow_code=allow_code,
        said=lambda line: typer.echo(line),
    )
    report = told(found, base=base, tuned=tuned)
    out = console()
    out.print()
    show(out, heal_page.regained(report))
    out.print()
    show(out, heal_page.beside(report))
    output.mkdir(parents=True, exist_ok=True)
    page = heal_page.write(report, output / "heal.html", title="What healing regains, and what it costs")
    write_json(output / "heal-search.json", heal_page.to_json(report))
    typer.echo(f"page: {page}")
    return None if found.chosen is None else healing_of(found.chosen.candidate, allow_code=allow_code)


def _recipe(tuned: str, recipe: str | None, *, allow_code: bool) -> Recipe:
    source = recipe or recipe_beside(Path(tuned))
    if source is None:
        raise UserError(
            f"heal --search asks the suites of a recipe, and {tuned} is in no run folder: give --recipe recipe.yaml. "
            "Nothing was written."
        )
    values = override(read(str(source)), [f"model_name_or_path={tuned}"], source=str(source))
    return check(values, source=str(source), allow_code=allow_code)
