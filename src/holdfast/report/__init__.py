"""Run folders into tables, figures, one self-contained HTML page, and a model card.

``load_runs(path)`` reads runs, ``table(runs)`` is what a terminal prints, ``write(path_or_runs, output)`` writes the
page, ``write_card(run)`` the ``README.md`` of a run folder, ``write_records(runs, folder)`` compact records that can be
committed and are read like any run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.report import groups
from holdfast.report.card import write_card
from holdfast.report.exporting import write as write_records
from holdfast.report.healed import heal_of
from holdfast.report.load import load_runs
from holdfast.report.run_data import RunData
from holdfast.report.tables import Table, table

if TYPE_CHECKING:
    from holdfast.report.claims import Judged

__all__ = ["RunData", "Table", "load_runs", "table", "write", "write_card", "write_records"]


def write(
    source: Path | str | Sequence[Path | str] | Sequence[RunData],
    output: Path | str,
    *,
    title: str | None = None,
    date: str = "",
    judged: Sequence[Judged] = (),
) -> Path:
    """Write the page that fits and PNG copies of its figures, and return the page's path.

    Runs of several tasks or base models, runs that heal, and compact records, get a study's page
    (`holdfast.report.study_page`), any other runs one that also shows answers (`holdfast.report.page`). The same runs
    give the same bytes. Both pages are imported late: matplotlib takes half a second, which printing a table must not
    pay.

    Args:
        source: Runs, or where `load_runs` finds them.
        output: A folder (``report.html`` is written into it) or a ``.html`` file. Figures go into a folder beside the
            page, ``report-figures/``.
        title: Heading; made from the study's name or the names of the arms if None.
        date: Words for the head of the page of single runs.
        judged: Verdicts on claims for the page of a study.

    Raises:
        RunFolderError: there is no run, a folder holds none, or nothing can be written.
    """
    from holdfast.report import page, study_page

    runs = _runs(source)
    many = len(groups.sections(runs)) > 1 or any(heal_of(run) is not None for run in runs)
    if any(run.records for run in runs) and (many or not any(run.has_texts for run in runs)):
        return study_page.write(runs, output, title=title, judged=judged)
    return page.write(runs, output, title=title, date=date)


def _runs(source: Path | str | Sequence[Path | str] | Sequence[RunData]) -> list[RunData]:
    if isinstance(source, str | Path):
        return load_runs(source)
    ready = [one for one in source if isinstance(one, RunData)]
    return ready if len(ready) == len(source) else load_runs([one for one in source if isinstance(one, str | Path)])
