"""A healing with everything a terminal shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from holdfast.cli import console
from holdfast.errors import UnknownName
from holdfast.heal.adapter import write_adapter
from holdfast.heal.apply import Operation, summary
from holdfast.heal.delta import write_delta
from holdfast.heal.healing import Healing
from holdfast.heal.tables import by_layer, by_role, in_words
from holdfast.heal.write import Written, write_checkpoint
from holdfast.models.pairs import ModelPair
from holdfast.spectral.cache import FactorCache, default_folder

FORMS: Mapping[str, Callable[[Operation, Path], Written]] = {
    "checkpoint": write_checkpoint,
    "delta": write_delta,
    "adapter": write_adapter,
}


def show(base: str, tuned: str, healing: Healing, *, out: Path | None, form: str, cache: Path | None) -> None:
    """Heal, write (or without ``out`` only measure), and print tables.

    Raises:
        UserError: the models are no pair, the healing cannot be done or written in this form; nothing is left then.
    """
    if form not in FORMS:
        raise UnknownName("form (--as)", form, FORMS)
    console.quiet_libraries()
    operation = Operation(ModelPair(base, tuned), healing, cache=FactorCache(cache or default_folder()))
    written = None if out is None else FORMS[form](operation, out)
    effects = list(operation.effects()) if written is None else written.effects
    screen = console.console()
    console.show(screen, by_role(effects))
    screen.print()
    console.show(screen, by_layer(effects))
    for line in in_words(summary(effects)):
        typer.echo(line)
    typer.echo(f"strength: {operation.strength:.4g}" + ("" if healing.undo is None else f", to undo {healing.undo:g}"))
    if written is None:
        typer.echo("dry run: nothing was written")
    else:
        size = sum(path.stat().st_size for path in written.folder.iterdir())
        typer.echo(f"{form}: {written.folder} ({size / 1e6:,.1f} MB)")
