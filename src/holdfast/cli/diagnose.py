"""``holdfast diagnose``: what training did to a model, looked at from inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECIPE MODEL... [--key value ...]", help="A recipe, and the models that it made."),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="The probability of every target token, before and after.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Training rows to ask at most, evenly spaced.")] = 512,
    output: Annotated[Path | None, typer.Option(help="Folder for the page, its figure and the numbers.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let the recipe name outside code (module:Class).")
    ] = False,
) -> None:
    """Compare models with the base that their recipe starts from, and write a page."""
    from holdfast.cli.arguments import diagnosis_values
    from holdfast.errors import UserError
    from holdfast.plan import check

    if not tokens:
        raise UserError("holdfast diagnose needs a question: --tokens")
    asked, models = diagnosis_values(words or [])
    checked = check(asked.values, source=asked.source, allow_code=allow_code)
    from holdfast.cli.diagnosing import show_tokens

    show_tokens(checked, models, rows=rows, output=output, allow_code=allow_code)
