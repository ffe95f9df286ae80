"""Verdicts as words: a table for the terminal and the page, rows of JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from holdfast.records import finite
from holdfast.report import words
from holdfast.report.claims.base import Measured, Quantity, Unit
from holdfast.report.claims.verdicts import Judged
from holdfast.report.tables import Table

LEGEND = (
    "95 % intervals over seeds and problems; holds: all of it lies within the claim's bounds; does not hold: all of it "
    "lies outside; out of range: what the claim needs is not so in these records. Not adjusted for being many."
)
COLUMNS = ("study", "of", "verdict", "measured", "n", "seeds", "what was found")


class Told(NamedTuple):
    """One claim with all of its verdicts.

    Attributes:
        heading: Its name, words and place.
        table: One row a verdict; the note holds the bounds, in the row's own words, and the commands.
    """

    heading: str
    table: Table


def told(judged: Sequence[Judged]) -> list[Told]:
    """Return a table of verdicts for each claim, in their order."""
    blocks = []
    for claim in dict.fromkeys(one.claim.id for one in judged):
        own = [one for one in judged if one.claim.id == claim]
        row = own[0].claim
        notes = [row.note] if row.note else []
        commands = "; ".join(row.evidence.values())
        table = Table(COLUMNS, tuple(map(_row, own)), "llllrrl", (" ".join([*notes, f"Runs: {commands}"]),))
        blocks.append(Told(f"{row.id}: “{row.quote}” ({row.where})", table))
    return blocks


def in_short(judged: Sequence[Judged]) -> Table:
    """Return one row a claim: how many verdicts of each kind it has."""
    kinds = ("holds", "does not hold", "cannot tell", "out of range")
    claims = {one.claim.id: one.claim for one in judged}
    rows = []
    for name, claim in claims.items():
        found = [str(one.verdict) for one in judged if one.claim.id == name]
        counts = [str(found.count(kind)) if kind in found else "·" for kind in kinds]
        rows.append((claim.where, f"“{claim.quote}”", name, *counts))
    return Table(("where", "claim", "row", *kinds), tuple(rows), "lllrrrr")


def tally(judged: Sequence[Judged]) -> str:
    """Return how many verdicts there are of each kind."""
    counts = {str(verdict): 0 for verdict in dict.fromkeys(one.verdict for one in judged)}
    for one in judged:
        counts[str(one.verdict)] += 1
    parts = [f"{count} {verdict}" for verdict, count in sorted(counts.items())]
    return f"{len(judged)} verdicts on {len({one.claim.id for one in judged})} claims: {', '.join(parts)}"


def _row(one: Judged) -> tuple[str, ...]:
    found = one.measured
    return (
        one.study,
        one.of or words.UNKNOWN,
        str(one.verdict),
        words.UNKNOWN if found is None else value_told(found),
        words.UNKNOWN if found is None else str(found.estimate.n),
        words.UNKNOWN if found is None else str(found.seeds),
        "; ".join(part for part in ("" if found is None else found.words, one.why) if part),
    )


def claims_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return one mapping a verdict, with plain JSON values; infinity becomes None."""
    return [
        {
            "id": one.claim.id,
            "seed": one.claim.seed,
            "quote": one.claim.quote,
            "where": one.claim.where,
            "study": one.study,
            "command": one.claim.evidence[one.study],
            "of": one.of,
            "verdict": str(one.verdict),
            "why": one.why,
            **({} if one.measured is None else _measured(one.measured)),
        }
        for one in judged
    ]


def value_told(measured: Measured) -> str:
    """Return a number with its interval, ``+45.5 [+38.0, +53.0]`` points or ``1.4 × [1.2, 1.7]``."""
    estimate, unit = measured.estimate, measured.unit
    if estimate.value is None:
        return words.UNKNOWN
    if unit == "ratio":
        ends = "" if measured.exact or estimate.low is None else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
        return ("never" if math.isinf(estimate.value) else f"{estimate.value:.3g} ×") + ends
    if unit == "rate":
        return words.percent(estimate.value) + ("" if estimate.low is None else f" {words.interval(*_ends(measured))}")
    ends = "" if estimate.low is None else f" {words.signed_interval(*_ends(measured))}"
    return words.points(estimate.value) + ends + ("" if unit == "points" else " a decade")


def bounds_told(quantity: Quantity, unit: Unit) -> str:
    """Return what a quantity asks for, ``above 90.0 %``."""
    shown = (lambda value: f"{value:g} ×") if unit == "ratio" else words.percent if unit == "rate" else words.points
    above = [] if quantity.above is None else [f"above {shown(quantity.above)}"]
    return " and ".join([*above, *([] if quantity.below is None else [f"below {shown(quantity.below)}"])])


def _ends(measured: Measured) -> tuple[float | None, float | None]:
    return measured.estimate.low, measured.estimate.high


def _measured(measured: Measured) -> dict[str, Any]:
    estimate = measured.estimate
    return {
        "value": finite(estimate.value),
        "low": finite(estimate.low),
        "high": finite(estimate.high),
        "unit": measured.unit,
        "n": estimate.n,
        "clusters": estimate.clusters,
        "interval_over": estimate.method,
        "seeds": measured.seeds,
        "measured": measured.words,
    }
