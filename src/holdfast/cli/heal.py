"""``holdfast heal``: give a tuned model back what training took, and write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.heal.healing import Healing


def heal(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model that training began with.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="What training made of it.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the result; must not exist yet, or be empty.")] = None,
    healer: Annotated[str, typer.Option(help="union, interpolate, core, layer_reset, … (docs/heal.md).")] = "union",
    k: Annotated[
        str | None, typer.Option(help="Directions: a share (0.2) or a number (64); the healer's own if not given.")
    ] = None,
    strength: Annotated[float | None, typer.Option(min=0, max=1, help="How much of it; 1 if not given.")] = None,
    undo: Annotated[
        float | None, typer.Option(min=0, max=1, help="Instead: the share of the whole update to undo.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another option of the healer; repeatable.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="Which tensors: attention, mlp, full, or {preset: full, layers: 'first:8'}.")
    ] = None,
    form: Annotated[str, typer.Option("--as", help="checkpoint, delta or adapter.")] = "checkpoint",
    search: Annotated[
        bool, typer.Option("--search", help="Try healers on a recipe's suites and take the best within --id-budget.")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "--config", help="With --search: whose suites are asked; TUNED's run's own."),
    ] = None,
    healers: Annotated[
        str | None, typer.Option(help="With --search: names to try, with commas between; all that have a grid.")
    ] = None,
    id_budget: Annotated[
        float, typer.Option("--id-budget", "--id_budget", help="With --search: success on id suites that may be lost.")
    ] = 0.02,
    output: Annotated[Path | None, typer.Option(help="With --search: folder for the page and the numbers.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Print what would be done; write nothing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for singular systems of base matrices; the user's cache if not given.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let --healer name outside code (module:Class).")
    ] = False,
) -> None:
    """Take back a part of what training did to a model, and write the result.

    Prints what that undoes by role and by block, and what interpolation does that undoes as much. With --search the
    part is chosen by success on suites: on one half of their problems, told of the other.
    """
    from holdfast.errors import UserError

    if out is None and not dry_run and not search:
        raise UserError("holdfast heal needs a place for the result, --out DIR, or --dry-run, or --search")
    named = [*(options or []), *([f"k={k}"] if k is not None else []), *([f"on={on}"] if on is not None else [])]
    given = {key: value for key, value in (("strength", strength), ("undo", undo)) if value is not None}
    idle = [f"--{name}" for name, value in (("set, --k, --on", named), ("strength or --undo", given)) if value]
    if search and idle:
        raise UserError(f"--search finds how to heal by itself; leave out {' and '.join(idle)}")
    if search:
        healing = _found(
            base, tuned, recipe=recipe, healers=healers, id_budget=id_budget, cache=cache, output=output,
            allow_code=allow_code,
        )  # fmt: skip
        if healing is None or out is None:
            return
    else:
        healing = _asked(named, given, healer, allow_code=allow_code)
    from holdfast.cli.healing import show

    show(base, tuned, healing, out=None if dry_run else out, form=form, cache=cache)


def _asked(words: Sequence[str], given: Mapping[str, float], healer: str, *, allow_code: bool) -> Healing:
    from holdfast.errors import UserError
    from holdfast.heal.healing import healing_of
    from holdfast.recipe import assigned

    if len(given) > 1:
        raise UserError("give --strength or --undo, not both")
    fields = assigned(words, source="the command line") | {"name": healer}
    return healing_of(fields | dict(given), allow_code=allow_code)


def _found(
    base: str,
    tuned: str,
    *,
    recipe: str | None,
    healers: str | None,
    id_budget: float,
    cache: Path | None,
    output: Path | None,
    allow_code: bool,
) -> Healing | None:
    from holdfast.cli.searching import search_and_show

    names = [name.strip() for name in (healers or "").split(",") if name.strip()]
    place = output or Path("runs") / f"heal-{Path(tuned).resolve().parent.name}-{Path(tuned).name}"
    return search_and_show(
        base, tuned, recipe=recipe, healers=names, id_budget=id_budget, cache=cache, output=place,
        allow_code=allow_code,
    )  # fmt: skip
