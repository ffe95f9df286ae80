"""Interactions of one prompt with everything a terminal shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import typer

from holdfast.cli.console import console, quiet_libraries, show
from holdfast.errors import UnknownName
from holdfast.models.durable import write_json
from holdfast.probes.interactions.asking import Masking
from holdfast.probes.interactions.one_prompt import one_prompt
from holdfast.report import interactions as page


def show_interactions(
    model: str,
    prompt: str,
    *,
    target: str | None,
    base: str | None,
    players: int,
    masking: str,
    output: Path | None,
) -> None:
    """Measure and print the interactions of one prompt; with ``output`` write a page and JSON too.

    Raises:
        UserError: a model, the prompt or an option cannot be used, or the folder cannot be written.
    """
    known: tuple[Masking, ...] = get_args(Masking)
    chosen = next((one for one in known if one == masking), None)
    if chosen is None:
        raise UnknownName("masking", masking, known)
    quiet_libraries()
    found = one_prompt(
        model, prompt, base=base, target=target, players=players, masking=chosen, said=lambda line: typer.echo(line)
    )
    out = console()
    show(out, page.strongest(found))
    show(out, page.by_order(found))
    show(out, page.summary(found))
    if output is not None:
        written = page.write(found, output / "interactions.html")
        write_json(output / "interactions.json", page.to_json(found))
        typer.echo(f"page: {written}")
