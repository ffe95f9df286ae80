"""When to stop: every signal replayed on the runs of a study that recorded probes."""

from __future__ import annotations

from holdfast.report.groups import Section
from holdfast.report.sections.base import Drawing, Part


def part(section: Section) -> Part | None:
    """Replay all ready signals; None unless all recipes ask for probes and an OOD suite is asked at every moment."""
    # Late: the replay is itself made of what the sections are made of.
    from holdfast.report.replay_page import Replayed
    from holdfast.report.replaying import suites_of

    asked = all(run.recipe.get("probes") for run in section.runs)
    if not asked or "ood" not in suites_of(section):
        return None
    found = Replayed(section)
    return Part(
        "When to stop",
        paragraphs=[
            "Every signal that is ready to use, replayed on these runs: what it would have kept, and what that gives "
            "away against the best trained moment. Options are the defaults, tuned on none of the runs."
        ],
        drawings=[Drawing("stopping", found.figure, found.caption)],
        tables=[found.table],
    )
