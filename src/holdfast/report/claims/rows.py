"""``claims.yaml``: the rows, checked when they are read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import Fault, RecipeError, UserError
from holdfast.members import build
from holdfast.report.claims.base import Quantity, Selector
from holdfast.report.files import read_yaml

KINDS = {
    "level": "holdfast.report.claims.level:Level",
    "change": "holdfast.report.claims.change:Change",
    "compare": "holdfast.report.claims.compare:Compare",
    "best": "holdfast.report.claims.best:Best",
    "sooner": "holdfast.report.claims.sooner:Sooner",
    "spread": "holdfast.report.claims.spread:Spread",
    "trend": "holdfast.report.claims.trend:Trend",
    "cost": "holdfast.report.claims.cost:Cost",
    "harder": "holdfast.report.claims.harder:Harder",
    "recovery": "holdfast.report.claims.recovery:Recovery",
    "anew": "holdfast.report.claims.anew:Anew",
    "beyond": "holdfast.report.claims.beyond:Beyond",
    "reading": "holdfast.report.claims.reading:Reading",
    "stopping": "holdfast.report.claims.stopping:Stopping",
}
EVERY = "every "
"""``suite: every ood`` asks for a verdict for each suite of the purpose."""
ARMS = ("arm", "against", "to_end_of")
"""Keys of a quantity that name arms. A list asks for a verdict for each; in ``needs``, ``{arm}`` and ``{against}``
stand for the arms of the verdict."""


class Quote(BaseModel):
    """Words of a document and where they stand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quote: str
    where: str


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    seed: str
    quote: str
    where: str
    also: list[Quote] = Field(default_factory=list)
    studies: list[str] = Field(min_length=1)
    quantity: dict[str, Any]
    needs: list[dict[str, Any]] = Field(default_factory=list)
    only: dict[str, str | list[str]] = Field(default_factory=dict)
    each: str | None = None
    seeds: int | None = Field(default=None, ge=1)
    note: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int = Field(default=3, ge=1)
    suites: dict[str, list[str]] = Field(default_factory=dict)
    arms: dict[str, dict[str, str | list[str]]] = Field(default_factory=dict)
    claims: list[_Row]


@dataclass(frozen=True)
class Claim:
    """One row.

    Attributes:
        id: Its name.
        seed: The document it is from.
        quote, where: Its exact words, and where they stand.
        also: Where else it is said.
        studies: The study files that decide it.
        quantity: What is measured, as written; see `asked`.
        needs: What must hold on the cell for the claim to be in range, judged by the values alone.
        only: Facts of the runs that the claim speaks of, for example ``data.environment: navigation``.
        each: A fact for each value of which among the runs of the first arm there is a verdict of its own.
        seeds: The fewest seeds on which a verdict may rest.
        note: How the words were turned into the quantity.
    """

    id: str
    seed: str
    quote: str
    where: str
    also: tuple[Quote, ...]
    studies: tuple[str, ...]
    quantity: Mapping[str, Any]
    needs: tuple[Mapping[str, Any], ...]
    only: Selector
    each: str | None
    seeds: int
    note: str

    @property
    def evidence(self) -> dict[str, str]:
        """The names of its studies, by which their records are found, and the commands that make the runs."""
        return {Path(study).stem: f"holdfast study {study}" for study in self.studies}


@dataclass(frozen=True)
class Claims:
    """All rows, and what their words for arms and suites mean."""

    claims: tuple[Claim, ...]
    arms: Mapping[str, Selector]
    suites: Mapping[str, tuple[str, ...]]


def read_claims(path: Path) -> Claims:
    """Read and check a file of claims.

    Raises:
        RecipeError: with all faults of the file.
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"there are no claims at {path}; give the file with --claims-file")
    try:
        file = _File.model_validate(read_yaml(path))
    except pydantic.ValidationError as error:
        told = error.errors(include_url=False)
        raise RecipeError(str(path), [Fault(".".join(map(str, one["loc"])), one["msg"]) for one in told]) from error
    faults = [fault for row in file.claims for fault in _faults(row, file)]
    ids = [row.id for row in file.claims]
    faults += [Fault(f"claims.{name}", "two rows have this id") for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if faults:
        raise RecipeError(str(path), faults)
    rows = tuple(
        Claim(
            **{
                **dict(row),
                "also": tuple(row.also),
                "studies": tuple(row.studies),
                "needs": tuple(row.needs),
                "seeds": row.seeds or file.seeds,
            }
        )
        for row in file.claims
    )
    return Claims(rows, file.arms, {name: tuple(own) for name, own in file.suites.items()})


def build_quantity(told: Mapping[str, Any]) -> Quantity:
    """Make a quantity from a row's entry, in which nothing is left open: ``kind`` and the kind's own keys.

    Raises:
        UserError: the kind or a key is not known, or a value is refused.
    """
    values = {"name": told.get("kind"), **{key: value for key, value in told.items() if key != "kind"}}
    quantity: Quantity = build("kind of quantity", values, KINDS)
    if quantity.above is None and quantity.below is None:
        raise UserError(f"kind of quantity {told.get('kind')}: give above, below or both, or nothing can be decided")
    return quantity


def asked(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a quantity once for each combination of the arms that it lists.

    Example:
        >>> [one["arm"] for one in asked({"kind": "level", "arm": ["full", "mlp"]})]
        ['full', 'mlp']
    """
    lists = [[(key, name) for name in _listed(told[key])] for key in ARMS if key in told]
    return [{**told, **dict(choice)} for choice in itertools.product(*lists)]


def filled(need: Mapping[str, Any], quantity: Mapping[str, Any]) -> dict[str, Any]:
    """Return a need in which ``{arm}``, ``{against}`` and an open suite are those of the quantity."""
    marks = {f"{{{key}}}": quantity.get(key) for key in ARMS}
    values = {key: marks.get(value, value) if isinstance(value, str) else value for key, value in need.items()}
    return {**values, "suite": quantity["suite"]} if every(need) is not None else values


def every(told: Mapping[str, Any]) -> str | None:
    """Return the purpose of whose suites each is asked for; None if one suite is named."""
    suite = str(told.get("suite", ""))
    return suite.removeprefix(EVERY) if suite.startswith(EVERY) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _faults(row: _Row, file: _File) -> list[Fault]:
    faults = []
    for quantity in asked(row.quantity):
        needs = [(f"needs.{number}", filled(need, quantity)) for number, need in enumerate(row.needs)]
        for place, told in [("quantity", quantity), *needs]:
            unknown = [told[key] for key in ARMS if key in told and told[key] not in file.arms]
            faults += [
                Fault(f"{row.id}.{place}", f"no arm is called {name!r}", "Name it under arms.") for name in unknown
            ]
            try:
                build_quantity(told)
            except UserError as fault:
                faults.append(Fault(f"{row.id}.{place}", str(fault)))
    return list(dict.fromkeys(faults))
