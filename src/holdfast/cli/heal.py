"""``holdfast heal``: give a tuned model back what training took, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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

    Prints what that undoes by role and by block, and what interpolation does that undoes as much.
    """
    from holdfast.errors import UserError
    from holdfast.heal.healing import healing_of
    from holdfast.recipe import assigned

    if out is None and not dry_run:
        raise UserError("holdfast heal needs a place for the result, --out DIR, or --dry-run")
    words = [*(options or []), *([f"k={k}"] if k is not None else []), *([f"on={on}"] if on is not None else [])]
    fields = assigned(words, source="the command line") | {"name": healer}
    given = {key: value for key, value in (("strength", strength), ("undo", undo)) if value is not None}
    if len(given) > 1:
        raise UserError("give --strength or --undo, not both")
    healing = healing_of(fields | given, allow_code=allow_code)
    from holdfast.cli.healing import show

    show(base, tuned, healing, out=None if dry_run else out, form=form, cache=cache)
