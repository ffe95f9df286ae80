"""From a template and figures to one self-contained HTML page, with PNG copies of the figures beside it.

Nothing on a page is trusted: every value passes `words.visible` and then Jinja's escaping; the only markup that goes in
as it is are our own SVG figures. A page holds no script and loads nothing, and its content policy forbids both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from holdfast.errors import RunFolderError
from holdfast.report import drawing, words


class Drawn(NamedTuple):
    """A figure on the page."""

    name: str
    figure: Figure
    svg: Markup
    caption: str


def drawn(name: str, figure: Figure, caption: str) -> Drawn:
    """Return a figure as the page holds it."""
    return Drawn(name, figure, drawing.to_svg(figure, prefix=f"{name}-", title=caption), caption)


def page_path(output: Path | str) -> Path:
    """Return the page's file: ``output`` itself if it is an ``.html`` file, else ``report.html`` in it."""
    path = Path(output)
    return path if path.suffix == ".html" else path / "report.html"


def template(name: str) -> jinja2.Template:
    """Return a template of this folder."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown, loader=jinja2.FunctionLoader(_source)
    )
    return environment.get_template(name)


def publish(path: Path, text: str, figures: Mapping[str, Figure]) -> Path:
    """Write a page and PNG copies of its figures into ``<page>-figures`` beside it; return the page's path.

    Raises:
        RunFolderError: something cannot be written.
    """
    try:
        beside = path.with_name(f"{path.stem}-figures")
        beside.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            drawing.to_png(figure, beside / f"{name}.png")
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as fault:
        raise RunFolderError(f"cannot write the report {path}: {fault.strerror}; choose another --output") from fault
    return path


def _source(name: str) -> str:
    return resources.files("holdfast.report").joinpath(name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Every value that a template writes comes by here; `Markup` is a macro's output or one of our figures."""
    return value if isinstance(value, Markup) else words.visible(str(value))
