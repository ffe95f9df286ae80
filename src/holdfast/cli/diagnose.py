"""``holdfast diagnose``: what training did to a model, looked at from inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BASE TUNED... | --tokens RECIPE MODEL...",
            help="The model that training began with, and what it made: models, or a run folder for its checkpoints. "
            "With --tokens a recipe, and the models that it made.",
        ),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="The probability of every target token, before and after.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="With --tokens: training rows to ask at most, evenly spaced.")] = 512,
    k: Annotated[str, typer.Option(help="Directions at either end: a share (0.2) or a number (64).")] = "0.2",
    bands: Annotated[
        bool, typer.Option("--bands", help="Ten bands of the spectrum, beside a random update. Twice the time.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Decompose every tuned matrix, where first order would be taken.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Another model tuned from BASE: do both drift the same way?")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Compare hidden states on the prompts of a recipe's suites.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for singular systems of base matrices; the user's cache if not given.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the page, its figures and the numbers.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", "--allow_code", help="Let a recipe name outside code (module:Class).")
    ] = False,
) -> None:
    """Compare tuned models with their base, weight by weight or token by token, and write a page."""
    from holdfast.errors import UserError

    if not tokens:
        base, tuned = _models(words or [])
        from holdfast.cli.spectral import show_spectral

        show_spectral(
            base, tuned, k=k, bands=bands, exact=exact, against=against, hidden=hidden, cache=cache, output=output,
            allow_code=allow_code,
        )  # fmt: skip
        return
    given = (("bands", bands), ("exact", exact), ("against", against), ("hidden", hidden), ("cache", cache))
    idle = [f"--{name}" for name, value in given if value]
    if idle:
        raise UserError(f"{' and '.join(idle)} belong to a diagnosis of weights; leave out --tokens")
    from holdfast.cli.arguments import diagnosis_values
    from holdfast.plan import check

    asked, models = diagnosis_values(words or [])
    checked = check(asked.values, source=asked.source, allow_code=allow_code)
    from holdfast.cli.diagnosing import show_tokens

    show_tokens(checked, models, rows=rows, output=output, allow_code=allow_code)


def _models(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the base and the tuned models of a command line that holds nothing else."""
    from holdfast.cli.arguments import refuse_flags
    from holdfast.errors import UserError

    refuse_flags(words, verb="diagnose")
    if len(words) < 2 or any(word.endswith((".yaml", ".yml")) for word in words):
        found = ", ".join(words) or "nothing"
        raise UserError(
            f"holdfast diagnose needs the base and at least one model that was tuned from it, found {found}. Write: "
            "holdfast diagnose BASE TUNED, or for target tokens: holdfast diagnose --tokens recipe.yaml TUNED"
        )
    return words[0], list(words[1:])
