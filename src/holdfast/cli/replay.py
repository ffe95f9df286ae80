"""``holdfast replay``: every signal on finished runs, without training anything again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.errors import UserError

if TYPE_CHECKING:
    from holdfast.signals.ready import Ready


def replay(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...", help="Run folders, study folders, compact records, or folders of run folders."
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(help="One signal, by its name in docs/signals.md or in a recipe's stop; all if not given."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With --signal: one of its options.")
    ] = None,
    ood: Annotated[str | None, typer.Option(help="The OOD suite to tell success on; the first if not given.")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="The ID suite; the first if not given.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for replay.html, or a .html file; that of the first path if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and write no page.")] = False,
) -> None:
    """Tell where every signal would have stopped finished runs, and what that would have kept."""
    from holdfast.cli.console import console, show
    from holdfast.report import load_runs
    from holdfast.report.replay_page import replayed, summary, write
    from holdfast.signals.ready import READY

    if not paths:
        raise UserError("name a run folder, a study folder or compact records")
    if changes and signal is None:
        raise UserError("--set changes an option of one signal: name it with --signal")
    chosen = READY if signal is None else {signal: _ready(signal, changes or [])}
    found = replayed(load_runs(paths), ood=ood, known=id_, signals=chosen)
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        show(console(), one.table, title=one.section.name)
    if len(found) > 1:
        show(console(), summary(found), title="All tasks")
    page = write(found, output or (paths[0] if paths[0].is_dir() else paths[0].parent))
    typer.echo(f"page: {page}")


def _ready(name: str, changes: list[str]) -> Ready:
    from holdfast.errors import UnknownName
    from holdfast.recipe import override
    from holdfast.signals import SIGNALS
    from holdfast.signals.ready import READY, Ready

    if name not in READY and name not in SIGNALS:
        raise UnknownName("signal", name, {**READY, **SIGNALS})
    spec = READY[name].spec if name in READY else {"signal": name}
    return Ready(override(spec, changes, source="--set"))
