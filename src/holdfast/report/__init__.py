"""Run folders into tables, figures, one self-contained HTML page, and a model card.

``load_runs(path)`` reads runs, ``table(runs)`` is what a terminal prints, ``write(path_or_runs, output)`` writes the
page, ``write_card(run)`` the ``README.md`` of a run folder, ``write_records(runs, folder)`` compact records that can be
committed and are read like any run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.report.card import write_card
from holdfast.report.compact import write as write_records
from holdfast.report.load import load_runs
from holdfast.report.run_data import RunData
from holdfast.report.tables import Table, table

if TYPE_CHECKING:
    from holdfast.report.claims import Judged

__all__ = ["RunData", "Table", "load_runs", "table", "write", "write_card", "write_records", "write_study"]


def write(
    source: Path | str | Sequence[Path | str] | Sequence[RunData],
    output: Path | str,
    *,
    title: str | None = None,
    date: str = "",
) -> Path:
    """Write the page and PNG copies of its figures; see `holdfast.report.page.write`, which this imports late.

    Matplotlib takes half a second to import, which printing a table must not pay.
    """
    from holdfast.report import page

    return page.write(source, output, title=title, date=date)


def write_study(
    runs: Sequence[RunData], output: Path | str, *, title: str | None = None, judged: Sequence[Judged] = ()
) -> Path:
    """Write the page of a study of several tasks, bases or seeds; see `holdfast.report.study_page.write`."""
    from holdfast.report import study_page

    return study_page.write(runs, output, title=title, judged=judged)
