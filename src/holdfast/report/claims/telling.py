"""Verdicts as words: a table for the terminal and the page, rows of JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast.records import finite
from holdfast.report import words
from holdfast.report.claims.base import Measured, Quantity, Unit
from holdfast.report.tables import Table

if TYPE_CHECKING:
    from holdfast.report.claims.judging import Judged


def claims_table(judged: Sequence[Judged]) -> Table:
    """Return one row a verdict; the notes hold the words of each claim and the command that makes its runs."""
    rows = [
        (
            one.claim.id,
            one.of or words.UNKNOWN,
            str(one.verdict),
            words.UNKNOWN if one.measured is None else value_told(one.measured),
            words.UNKNOWN if one.measured is None else str(one.measured.estimate.n),
            words.UNKNOWN if one.measured is None else str(one.measured.seeds),
            "; ".join(part for part in ("" if one.measured is None else one.measured.words, one.why) if part),
        )
        for one in judged
    ]
    told = {
        one.claim.id: f"{one.claim.id}: “{one.claim.quote}” ({one.claim.where}). {one.claim.command}" for one in judged
    }
    return Table(
        ("claim", "of", "verdict", "measured", "n", "seeds", "what was found"),
        tuple(rows),
        "lllrrrl",
        (
            "95 % intervals over seeds and problems; holds: all of it within the claim's bounds; does not hold: all of "
            "it outside; out of range: the claim's precondition is not met. Not adjusted for being many.",
            *told.values(),
        ),
    )


def claims_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return one mapping a verdict, with plain JSON values; infinity becomes None."""
    return [
        {
            "id": one.claim.id,
            "seed": one.claim.seed,
            "quote": one.claim.quote,
            "where": one.claim.where,
            "study": one.claim.study,
            "command": one.claim.command,
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
