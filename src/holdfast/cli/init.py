"""``holdfast init``: write a commented starter recipe."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("recipe.yaml"),
    data: Annotated[str | None, typer.Option(help="Your own .jsonl file instead of the built-in card world.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or folder; a shipped base if not given.")] = None,
    trainable: Annotated[str, typer.Option(help="attention, mlp or full.")] = "attention",
    objective: Annotated[str, typer.Option(help="What is minimized: nll, dft, anchored, …")] = "nll",
    steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = 160,
) -> None:
    """Write a commented starter recipe; an existing file is never overwritten."""
    from holdfast.plan import check
    from holdfast.recipe import parse_yaml

    text = starter(data=data, model=model, trainable=trainable, objective=objective, steps=steps)
    check(parse_yaml(text, source=f"holdfast init {file}"), source=f"holdfast init {file}")
    write_new(file, text)
    typer.echo(f"wrote {file}. Look at it, then: holdfast plan {file}; holdfast train {file}")


def starter(*, data: str | None, model: str | None, trainable: str, objective: str, steps: int) -> str:
    """Return the text of a starter recipe: the card world, or rows of the user's own."""
    import yaml

    from holdfast.errors import UserError
    from holdfast.models.find import shipped

    bases = sorted(shipped())
    if model is None and not bases:
        raise UserError("this installation ships no base model; name one: holdfast init --model FOLDER_OR_HUB_ID")
    template = resources.files("holdfast.cli") / "templates" / ("cards.yaml" if data is None else "own_rows.yaml")
    words = {
        "MODEL": model or bases[0],
        "SHIPPED": ", ".join(bases) or "none",
        "DATA": data or "",
        "TRAINABLE": trainable,
        "OBJECTIVE": objective,
    }
    text = template.read_text(encoding="utf-8").replace("<STEPS>", str(steps))
    for name, word in words.items():
        quoted = (
            word if name == "SHIPPED" else yaml.safe_dump(word, default_flow_style=True, width=10_000).splitlines()[0]
        )
        text = text.replace(f"<{name}>", quoted)
    return text


def write_new(file: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Raises:
        UserError: it exists.
    """
    from holdfast.errors import UserError

    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as fault:
        raise UserError(f"{file} exists and is left as it is; give another name: holdfast init other.yaml") from fault
