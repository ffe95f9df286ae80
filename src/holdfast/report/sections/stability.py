"""Instability: how far success moves from one late moment to the next, and how far seeds lie apart at the end."""

from __future__ import annotations

import statistics

from holdfast.report import words
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Term, end, measure
from holdfast.report.groups import Section
from holdfast.report.over_seeds import of_seeds
from holdfast.report.run_data import SuiteFacts
from holdfast.report.sections.base import Part, cell, id_suite, ood_suite, trained_suite
from holdfast.report.tables import Table
from holdfast.report.unrest import late_moments, unrest


def part(section: Section) -> Part | None:
    """Tabulate both spreads; None where no arm has three late moments."""
    suites = list(
        dict.fromkeys(s for s in (ood_suite(section), id_suite(section), trained_suite(section)) if s is not None)
    )
    arms = [arm for arm in section.arms if any(late_moments(arm, suite.name) for suite in suites)]
    if not arms:
        return None
    rows = [(arm.name, *(word for suite in suites for word in _cells(arm, suite))) for arm in arms]
    heads = [word for suite in suites for word in (f"{called(suite)}: moment to moment", "seed to seed")]
    note = (
        "Moment to moment: mean absolute difference between adjacent moments in the last half of them, on the same "
        "problems, mean over seeds [95 % over seeds]; it holds the noise of finitely many problems, alike for all "
        "arms. Seed to seed: standard deviation of success at the end, and lowest to highest."
    )
    return Part("Stability", tables=[Table(("arm", *heads), tuple(rows), "l" + "r" * len(heads), (note,))])


def _cells(arm: Arm, suite: SuiteFacts) -> tuple[str, str]:
    moves = unrest(arm, suite.name)
    found = measure([Term(arm, suite.name, end(arm, suite.name))])
    seeds = sorted(found.by_seed.values()) if found else []
    apart = words.UNKNOWN
    if len(seeds) > 1:
        apart = f"{100 * statistics.stdev(seeds):.1f}\n{100 * seeds[0]:.1f} to {100 * seeds[-1]:.1f}"
    return cell(of_seeds(list(moves.values()))).replace(" %", ""), apart
