"""From rows and the records of studies to verdicts.

- *holds*: the whole 95 % interval lies between the row's bounds;
- *does not hold*: the whole interval lies outside;
- *cannot tell*: otherwise, or nothing was recorded that could decide;
- *out of range*: what the row needs (by values alone) is not so in these records, or they have too few seeds, so that
  the claim is not about them.

Verdicts are not adjusted for being many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast.errors import NotRecorded
from holdfast.report.claims.base import Cell, Measured, Quantity, matching
from holdfast.report.claims.rows import ARMS, Claim, Claims, asked, build_quantity, every, filled
from holdfast.report.claims.telling import bounds_told, value_told
from holdfast.report.claims.verdicts import Judged, Verdict
from holdfast.report.groups import facts, sections
from holdfast.report.run_data import RunData


def judge(claims: Claims, evidence: Mapping[str, Sequence[RunData]]) -> list[Judged]:
    """Judge every claim on every cell of its study.

    Args:
        claims: The rows.
        evidence: A study's name (`Claim.evidence`) to its runs.
    """
    return [
        verdict
        for claim in claims.claims
        for study in claim.evidence
        for verdict in _judge(claim, claims, study, evidence.get(study, ()))
    ]


def _judge(claim: Claim, claims: Claims, study: str, runs: Sequence[RunData]) -> Iterator[Judged]:
    own = [run for run in matching(runs, claim.only) if run.records]
    if not own:
        why = "there are no records of this study" if not runs else "the study has no such runs"
        yield Judged(claim, study, "", Verdict.CANNOT_TELL, why=why)
    for section in sections(own):
        for quantity in asked(claim.quantity):
            for variant in _variants(claim, quantity, Cell(section, claims.arms, claims.suites)):
                cell = Cell(section, claims.arms, claims.suites, variant)
                yield from _on_cell(claim, study, quantity, cell)


def _variants(claim: Claim, quantity: Mapping[str, Any], cell: Cell) -> list[dict[str, str]]:
    if claim.each is None:
        return [{}]
    try:
        arms = cell.several(str(quantity["arm"]))
    except NotRecorded:
        return [{}]
    values = dict.fromkeys(facts(arm.runs[0]).get(claim.each) for arm in arms)
    return [{claim.each: value} for value in values if value is not None] or [{}]


def _on_cell(claim: Claim, study: str, quantity: Mapping[str, Any], cell: Cell) -> Iterator[Judged]:
    purpose = every(quantity)
    open_suites = [] if purpose is None else [suite.name for suite in cell.section.suites_for(purpose)]
    for one in [quantity] if purpose is None else [{**quantity, "suite": suite} for suite in open_suites]:
        listed = [one[key] for key in ARMS if isinstance(claim.quantity.get(key), list)]
        variant = [f"{key.split('.')[-1]} {value}" for key, value in cell.variant.items()]
        of = "; ".join([cell.section.name, *variant, *listed, *([one["suite"]] if purpose else [])])
        verdict, measured, why = _verdict(claim, one, cell)
        yield Judged(claim, study, of, verdict, measured, why)


class _Found(NamedTuple):
    verdict: Verdict
    measured: Measured | None
    why: str


def _verdict(claim: Claim, told: Mapping[str, Any], cell: Cell) -> _Found:
    quantity = build_quantity(told)
    try:
        measured = quantity.measure(cell)
    except NotRecorded as fault:
        return _Found(Verdict.CANNOT_TELL, None, str(fault))
    if measured.seeds < claim.seeds:
        why = f"{measured.seeds} of at least {claim.seeds} seeds"
        return _Found(Verdict.OUT_OF_RANGE, measured, why)
    for need in claim.needs:
        needed = build_quantity(filled(need, told))
        try:
            found = needed.measure(cell)
        except NotRecorded as fault:
            return _Found(Verdict.CANNOT_TELL, measured, f"a precondition is not recorded: {fault}")
        if not within(found.estimate.value, needed):
            why = f"needs {bounds_told(needed, found.unit)}, found {found.words} ({value_told(found)})"
            return _Found(Verdict.OUT_OF_RANGE, measured, why)
    verdict = decide(measured, quantity)
    why = ""
    if verdict is Verdict.CANNOT_TELL:
        why = "there is no interval" if measured.ends is None else "the interval reaches beyond the bound"
    return _Found(verdict, measured, why)


def decide(measured: Measured, quantity: Quantity) -> Verdict:
    """Return the verdict of an interval against bounds; see the module docstring."""
    if measured.ends is None:
        return Verdict.CANNOT_TELL
    low, high = measured.ends
    if within(low, quantity) and within(high, quantity):
        return Verdict.HOLDS
    beyond = quantity.below is not None and low >= quantity.below
    short = quantity.above is not None and high <= quantity.above
    return Verdict.FAILS if beyond or short else Verdict.CANNOT_TELL


def within(value: float | None, quantity: Quantity) -> bool:
    """Whether a value lies strictly between the bounds; an unknown one does not."""
    if value is None:
        return False
    return (quantity.above is None or value > quantity.above) and (quantity.below is None or value < quantity.below)
