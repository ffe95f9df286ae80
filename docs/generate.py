"""Write the generated parts of the docs.

    make docs

They are `docs/cli.md`, what every verb's ``--help`` prints, and, on any page, tables made of the records in
`docs/results/`. A page asks for one between two comments, and everything between them is written anew::

    <!-- table: figure1 / points / ends / 0 -->
    <!-- end -->

with the study's folder, the task (or task and base: ``points, pocket``), the part of the report's page (a key of
`holdfast.report.sections.PARTS`) and the table's number in it. The part ``regrets`` may name several studies and sums
up all of their tasks. ``tests/test_docs.py`` fails when something is stale.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from holdfast.report import load_runs
from holdfast.report.groups import Section, sections
from holdfast.report.replay_page import replayed, summary
from holdfast.report.sections import PARTS, Part

VERBS = (
    "init",
    "plan",
    "train",
    "eval",
    "study",
    "report",
    "replay",
    "diagnose",
    "interactions",
    "heal",
    "pretrain",
    "env",
)
HERE = Path(__file__).parent
REGRETS = "regrets"
ASKED = re.compile(r"(<!-- table: (.+?) / (.+?) / (.+?) / (\d+) -->\n).*?(<!-- end -->)", re.DOTALL)


def reference() -> str:
    """Return the text of ``docs/cli.md``."""
    parts = ["# Command line\n\n*Written by `make docs` from `--help`.*\n"]
    for words in ((), *((verb,) for verb in VERBS)):
        parts.append(f"\n## {' '.join(('holdfast', *words))}\n\n```\n{_help(words)}\n```\n")
    return "".join(parts)


def with_tables(page: str) -> str:
    """Return a page with its tables made anew from the records that they name."""
    return ASKED.sub(lambda found: f"{found[1]}{_table(found[2], found[3], found[4], int(found[5]))}{found[6]}", page)


def _help(words: tuple[str, ...]) -> str:
    plain = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    command = [str(Path(sys.executable).parent / "holdfast"), *words, "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, env=plain, check=True).stdout
    return "\n".join(line.rstrip() for line in printed.strip().splitlines())


@cache
def _sections(study: str) -> dict[str, Section]:
    found = sections(load_runs(HERE / "results" / study))
    return {section.task: section for section in reversed(found)} | {section.name: section for section in found}


@cache
def _part(study: str, task: str, part: str) -> Part:
    made = PARTS[part](_sections(study)[task])
    if made is None:
        raise SystemExit(f"docs/results/{study} has no {part} for {task}")
    return made


def _table(study: str, task: str, part: str, number: int) -> str:
    if part == REGRETS:
        runs = [run for name in study.split() for run in load_runs(HERE / "results" / name)]
        table = summary(replayed(runs))
    else:
        table = _part(study, task, part).tables[number]
    rule = [{"l": ":--", "r": "--:"}[side] for side in table.align]
    lines = ["| " + " | ".join(_one_line(cell) for cell in row) + " |" for row in (table.columns, rule, *table.rows)]
    return "\n".join((*lines, *(f"\n*{_one_line(note)}*" for note in table.notes))) + "\n"


def _one_line(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    (HERE / "cli.md").write_text(reference(), encoding="utf-8")
    for file in sorted(HERE.glob("*.md")):
        before = file.read_text(encoding="utf-8")
        if (after := with_tables(before)) != before:
            file.write_text(after, encoding="utf-8")
