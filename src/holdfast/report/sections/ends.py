"""Success at the end, arm by arm: the rate, what changed since the base, and each arm against the first."""

from __future__ import annotations

from holdfast.records import Estimate
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Contrast, Term, base, end, level, measure
from holdfast.report.groups import Section
from holdfast.report.sections.base import Part, cell, seeds_told, shown, signed_cell
from holdfast.report.tables import Table


def part(section: Section) -> Part | None:
    """Tabulate the ends; None if nothing was measured."""
    arms = [arm for arm in section.arms if arm.measured]
    suites = [suite for suite in shown(section) if any(end(arm, suite.name) for arm in arms)]
    if not suites:
        return None
    rows = [("before training", *(cell(_base(arms, suite.name)) for suite in suites))]
    rows += [(arm.name, *(cell(level(arm, suite.name, end(arm, suite.name))) for suite in suites)) for arm in arms]
    counts = {suite.name: _asked(arms, suite.name) for suite in suites}
    asked = "; ".join(f"{name} {n} answers to {k} distinct problems" for name, (n, k) in counts.items())
    columns = tuple(called(suite) for suite in suites)
    ends = Table(("arm", *columns), tuple(rows), "l" + "r" * len(suites), (f"{seeds_told(section)} An arm: {asked}.",))
    changes = [(arm.name, *(signed_cell(_told(_change(arm, suite.name))) for suite in suites)) for arm in arms]
    since = Table(
        ("change since the base, points", *columns), tuple(changes), "l" + "r" * len(suites), ("On the same problems.",)
    )
    tables = [ends, since]
    if len(arms) > 1:
        against = [
            (arm.name, *(signed_cell(_told(_against(arms[0], arm, suite.name))) for suite in suites))
            for arm in arms[1:]
        ]
        first = f"against {arms[0].name}, points"
        tables.append(
            Table((first, *columns), tuple(against), "l" + "r" * len(suites), ("Same problems, same seeds.",))
        )
    return Part("Success at the end", tables=tables)


def _change(arm: Arm, suite: str) -> Contrast | None:
    return measure([Term(arm, suite, end(arm, suite)), Term(arm, suite, base(arm), -1.0)])


def _against(first: Arm, arm: Arm, suite: str) -> Contrast | None:
    return measure([Term(arm, suite, end(arm, suite)), Term(first, suite, end(first, suite), -1.0)])


def _told(found: Contrast | None) -> Estimate | None:
    return None if found is None else found.estimate


def _base(arms: list[Arm], suite: str) -> Estimate | None:
    return next((told for arm in arms if (told := level(arm, suite, base(arm))) is not None), None)


def _asked(arms: list[Arm], suite: str) -> tuple[int, int]:
    told = [one for arm in arms if (one := level(arm, suite, end(arm, suite))) is not None]
    return max((one.n for one in told), default=0), max((one.clusters for one in told), default=0)
