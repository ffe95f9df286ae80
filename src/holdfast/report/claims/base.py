"""The contract of a quantity, and the cell of evidence it is measured on.

A claim is a row of data (``docs/claims.yaml``). Its quantity is one of a few kinds, each a frozen dataclass whose
fields are the row's keys. A kind measures one number on one *cell*: the runs of one task on one base model::

    @dataclass(frozen=True)
    class Level:
        arm: str
        suite: str
        above: float | None = None
        below: float | None = None

        def measure(self, cell):
            arm = cell.arm(self.arm)
            suite = cell.suite(self.suite)
            ...
            return Measured(estimate, seeds=3, words="attention 72.0 %")

Every kind has the bounds ``above`` and ``below``. The claim *holds* if the whole interval lies between them, and *does
not hold* if the whole interval lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from holdfast.errors import NotRecorded
from holdfast.records import Estimate
from holdfast.report.compare import Arm
from holdfast.report.contrasts import Contrast
from holdfast.report.groups import Section, facts
from holdfast.report.run_data import RunData

Unit = Literal["rate", "points", "points a decade", "points a level", "ratio"]
Selector = Mapping[str, str | list[str]]
"""Fact of a run (a label, or a recipe key with dots) to its value, or to several of which one must match.

Of numbers, ``smallest``, ``largest`` and ``largest/10`` (the nearest to it) choose among the runs that match the rest.
"""

LARGEST, SMALLEST = "largest", "smallest"
NEAR = 2.0
"""Factor within which a learning rate counts as the asked fraction of the largest."""


@dataclass(frozen=True)
class Measured:
    """What a quantity came to on one cell.

    Attributes:
        estimate: The number with its interval; a value without an interval decides nothing unless ``exact``.
        seeds: Seeds that it rests on.
        words: What was compared, with its figures, for a reader.
        unit: ``rate``, ``points`` (a difference of rates), ``points a decade``, or ``ratio``.
        exact: Whether there is nothing to estimate (a counted cost), so that the value is its own interval.
    """

    estimate: Estimate
    seeds: int
    words: str
    unit: Unit = "points"
    exact: bool = False

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval that decides; None if there is none."""
        if self.exact and self.estimate.value is not None:
            return self.estimate.value, self.estimate.value
        low, high = self.estimate.low, self.estimate.high
        return None if low is None or high is None else (low, high)


@runtime_checkable
class Quantity(Protocol):
    """One number of one cell. Implementations are frozen dataclasses whose fields are the keys of a row."""

    @property
    def above(self) -> float | None:
        """The claim says that the number is above this."""

    @property
    def below(self) -> float | None:
        """The claim says that the number is below this."""

    def measure(self, cell: Cell) -> Measured:
        """Measure it.

        Raises:
            NotRecorded: the cell lacks an arm, a suite or a reading that it needs; the message says which.
        """


@dataclass(frozen=True)
class Cell:
    """Where a claim is judged: the runs of one task on one base, and what the words of a row mean there.

    Attributes:
        section: The runs.
        arms: Names that rows use for arms, and how to find them.
        suites: Names that rows use for suites, and the suites that may be meant, the first that is there.
        variant: A fact and its value, where a row asks for a verdict for each.
    """

    section: Section
    arms: Mapping[str, Selector]
    suites: Mapping[str, Sequence[str]]
    variant: Mapping[str, str] = field(default_factory=dict)

    def arm(self, name: str) -> Arm:
        """Return the one arm that a name stands for.

        Raises:
            NotRecorded: there is none, or there are several.
        """
        found = self.several(name)
        if len(found) > 1:
            raise NotRecorded(f"{name} may be any of: {'; '.join(arm.name for arm in found)}")
        return found[0]

    def several(self, name: str) -> list[Arm]:
        """Return all measured arms that a name stands for.

        Raises:
            NotRecorded: there is none.
        """
        asked = self.arms[name]
        fixed = {key: value for key, value in asked.items() if not _chooses(value)}
        told = [(arm, facts(arm.runs[0])) for arm in self.section.arms if arm.measured]
        found = [(arm, known) for arm, known in told if _matches(known, fixed)]
        for key, only in self.variant.items():
            found = [(arm, known) for arm, known in found if known.get(key) == only] or found
        for key, value in asked.items():
            if _chooses(value):
                chosen = _nearest([known.get(key) for _, known in found], str(value))
                found = [(arm, known) for arm, known in found if chosen is not None and known.get(key) == chosen]
        if not found:
            words = ", ".join(f"{key} {value}" for key, value in asked.items())
            raise NotRecorded(f"no run of {name} ({words})")
        return [arm for arm, _ in found]

    def suite(self, name: str) -> str:
        """Return the suite that a name stands for.

        Raises:
            NotRecorded: no run has it.
        """
        there = [suite.name for suite in self.section.suites]
        candidates = self.suites.get(name, [name])
        found = next((candidate for candidate in candidates if candidate in there), None)
        if found is None:
            raise NotRecorded(f"no suite {name} ({' or '.join(candidates)}); there are {', '.join(there) or 'none'}")
        return found


def matching(runs: Sequence[RunData], asked: Selector) -> list[RunData]:
    """Return the runs that have all asked facts."""
    return [run for run in runs if _matches(facts(run), asked)]


def measured(found: Contrast | None, words: str, unit: Unit = "points") -> Measured:
    """Return a contrast as a measured quantity.

    Raises:
        NotRecorded: it is None.
    """
    if found is None:
        raise NotRecorded(f"not recorded for one seed in common: {words}")
    return Measured(found.estimate, len(found.by_seed), words, unit)


def _matches(known: Mapping[str, str], asked: Selector) -> bool:
    return all(known.get(key) in (value if isinstance(value, list) else [value]) for key, value in asked.items())


def _chooses(value: str | list[str]) -> bool:
    return isinstance(value, str) and (value == SMALLEST or value.split("/")[0] == LARGEST)


def _nearest(values: Sequence[str | None], rule: str) -> str | None:
    """Return the value that a rule chooses, as it is written; None if there is none near enough."""
    numbers = {value: float(value) for value in values if value}
    if not numbers:
        return None
    if rule == SMALLEST:
        return min(numbers, key=lambda value: numbers[value])
    aim = max(numbers.values()) / float(rule.partition("/")[2] or 1)
    nearest = min(numbers, key=lambda value: abs(math.log(numbers[value] / aim)))
    return nearest if aim / NEAR <= numbers[nearest] <= aim * NEAR else None
