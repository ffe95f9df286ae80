"""The command line, one thin file a verb: ``init plan train eval study report replay diagnose interactions heal …``.

A mistake of the user's is one clear message on stderr and exit code 2; an interrupt is exit code 130. What is heavy is
imported inside the verbs, so that ``holdfast --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from holdfast import __version__
from holdfast.cli import (
    diagnose,
    env,
    evaluating,
    heal,
    init,
    interactions,
    plan,
    pretrain,
    replay,
    report,
    study,
    train,
)
from holdfast.errors import HoldfastError, OtherRankFailed, UserError

app = typer.Typer(
    name="holdfast",
    help="Fine-tune a language model on your task and keep what it already knew.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RECIPE_FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Every recipe key is a flag; the verbs that read recipes split their words themselves."""

app.command("init")(init.init)
app.command("plan", context_settings=RECIPE_FLAGS)(plan.plan)
app.command("train", context_settings=RECIPE_FLAGS)(train.train)
app.command("eval", context_settings=RECIPE_FLAGS)(evaluating.evaluate)
app.command("study", context_settings=RECIPE_FLAGS)(study.study)
app.command("report")(report.report)
app.command("replay")(replay.replay)
app.command("diagnose", context_settings=RECIPE_FLAGS)(diagnose.diagnose)
app.command("interactions")(interactions.interactions)
app.command("heal")(heal.heal)
app.command("pretrain", context_settings=RECIPE_FLAGS)(pretrain.pretrain)
app.command("env")(env.env)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def _holdfast(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 a mistake in what was asked, 130 interrupted.

    One of several processes ends with 3 if it did nothing wrong itself, but another one failed.
    """
    try:
        app()
    except OtherRankFailed:
        sys.exit(3)  # the rank that failed says why
    except UserError as fault:
        _say(str(fault))
        sys.exit(2)
    except HoldfastError as fault:
        _say(f"{type(fault).__name__}: {fault}")
        sys.exit(1)
    except OSError as fault:
        if fault.filename is None or fault.strerror is None:
            raise
        _say(f"{fault.filename}: {fault.strerror[:1].lower()}{fault.strerror[1:]}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)


def _say(words: str) -> None:
    typer.echo(words, err=True)
