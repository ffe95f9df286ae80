"""The page of a study: a section for each task and base, made of the parts in `holdfast.report.sections`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from matplotlib.figure import Figure

from holdfast.errors import RunFolderError
from holdfast.report import caveats, tables, words
from holdfast.report.claims import LEGEND, Judged, in_short, tally, told
from holdfast.report.compare import Arm
from holdfast.report.contrasts import base, end, level
from holdfast.report.drawing import to_svg
from holdfast.report.groups import Section, sections
from holdfast.report.publishing import page_path, publish, template
from holdfast.report.run_data import RunData
from holdfast.report.sections import PARTS
from holdfast.report.sections.base import Drawing, ood_suite

MANY = 8
"""Arms from which on a section's first sentence would be a table."""


Picture = Callable[[str, Drawing], Markup]
"""From a figure's name on the page and a drawing to what stands in its place."""


def write(
    runs: Sequence[RunData], output: Path | str, *, title: str | None = None, judged: Sequence[Judged] = ()
) -> Path:
    """Write the page and its figures, and return the page's path. The same runs give the same bytes.

    Args:
        runs: Of one study.
        output: A folder (``report.html`` is written into it) or a ``.html`` file.
        title: Heading; the study's name if None.
        judged: Verdicts on claims; those that this study decides are shown.

    Raises:
        RunFolderError: there is no run that recorded anything, or nothing can be written.
    """
    figures: dict[str, Figure] = {}

    def picture(name: str, drawing: Drawing) -> Markup:
        figures[name] = drawing.draw()
        return to_svg(figures[name], prefix=f"{name}-", title=drawing.caption)

    return publish(page_path(output), render(runs, picture, title=title, judged=judged), figures)


def render(
    runs: Sequence[RunData], picture: Picture, *, title: str | None = None, judged: Sequence[Judged] = ()
) -> str:
    """Return the page as text; see `write`.

    Args:
        runs, title, judged: See `write`.
        picture: Draws a figure, or leaves it out: every number of the page stands in a table too.
    """
    measured = [run for run in runs if run.records]
    if not measured:
        raise RunFolderError("there is no run to report: none has recorded anything")
    judged = [one for one in judged if one.study in {run.study for run in measured}]
    found = sections(measured)
    arms = [Arm(f"{section.name}: {arm.name}", arm.runs) for section in found for arm in section.arms]
    return template("study.html.j2").render(
        {
            "title": title or _title(measured),
            "subtitle": _subtitle(measured),
            "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
            "warnings": [*_missing(runs), *caveats.warnings(arms)],
            "claims": told(judged),
            "in_short": in_short(judged),
            "tally": tally(judged),
            "legend": LEGEND,
            "sections": [_section(section, picture) for section in found],
            "caveats": list(_caveats(measured)),
            "provenance": tables.provenance_table(arms),
            "recipes": [{"name": arm.name, "text": _yaml(arm.runs[0])} for arm in arms],
        }
    )


def _section(section: Section, picture: Picture) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9]+", "-", section.name.lower()).strip("-")
    parts = []
    for key, make in PARTS.items():
        made = make(section)
        if made is not None:
            places = [(f"{name}-{one.name}", one) for one in made.drawings]
            shown = [{"svg": picture(place, one), "caption": one.caption} for place, one in places]
            parts.append(
                {
                    "id": key,
                    "title": made.title,
                    "paragraphs": made.paragraphs,
                    "drawings": shown,
                    "tables": made.tables,
                }
            )
    differences = tables.difference_table(section.arms)
    return {"id": name, "name": section.name, "lead": list(_lead(section)), "parts": parts, "differences": differences}


def _lead(section: Section) -> Iterator[str]:
    """Say in one sentence what became of OOD success."""
    asked = ood_suite(section)
    arms = [arm for arm in section.arms if arm.measured]
    if asked is None or len(arms) > MANY:
        return
    start = level(arms[0], asked.name, base(arms[0]))
    ends = [(arm, level(arm, asked.name, end(arm, asked.name))) for arm in arms]
    known = sorted(
        ((told.value, arm.name) for arm, told in ends if told is not None and told.value is not None), reverse=True
    )
    if start is not None and known:
        parts = words.listed([f"{name} {words.percent(value)}" for value, name in known])
        yield f"Success on {asked.name}, {words.percent(start.value)} before training, is at the end: {parts}."


def _title(runs: Sequence[RunData]) -> str:
    studies = list(dict.fromkeys(run.study for run in runs if run.study))
    return words.listed(studies) if studies else f"{len(runs)} runs"


def _subtitle(runs: Sequence[RunData]) -> str:
    seeds = sorted({run.seed for run in runs})
    parts = sections(runs)
    tasks, bases = (list(dict.fromkeys(found)) for found in ([s.task for s in parts], [s.base for s in parts]))
    counted = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    told = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return " · ".join([f"tasks {words.listed(tasks)}", f"bases {words.listed(bases)}", counted, told])


def _missing(runs: Sequence[RunData]) -> Iterator[str]:
    for run in runs:
        if not run.records:
            yield f"{run.name}, seed {run.seed}: {run.status}; it is left out."


def _caveats(runs: Sequence[RunData]) -> Iterator[str]:
    seeds = {run.seed for run in runs}
    if any(run.study.endswith("-quick") for run in runs):
        yield "This is the quick version of the study: few problems, few steps, one seed. It shows that it runs."
    if len(seeds) == 1:
        yield "One seed: how much another seed would differ is not known, and no interval speaks of it."
    elif len(seeds) < 5:
        yield (
            f"{len(seeds)} seeds: where seeds differ much, intervals are wide ({len(seeds) - 1} degrees of freedom), "
            "and that is what so few seeds are worth."
        )
    yield "Intervals are not adjusted for the number of comparisons on this page."
    yield "A moment that is chosen in hindsight is the best of several noisy rates, hence too high."
    bases = sorted({str(run.recipe.get("model_name_or_path")) for run in runs})
    yield f"Everything here is about {words.listed(bases)}; other models may behave differently."
    exposures: dict[str, list[str]] = {}
    for suite in {suite.name: suite for run in runs for suite in run.suites.values()}.values():
        if suite.purpose != "id":
            exposures.setdefault(suite.exposure, []).append(suite.name)
    for exposure, names in exposures.items():
        if exposure == "known to the base":
            yield f"{words.listed(names)}: the base has met such rules, so that a loss there is forgetting."
        elif exposure == "unknown":
            yield f"{words.listed(names)}: whether the base has met such problems is not known."


def _yaml(run: RunData) -> str:
    return yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=False)
