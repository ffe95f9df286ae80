"""One run as the rest of the report sees it, whether it was read from its folder or from compact records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.records import Record, Sample

PURPOSES = ("id", "ood", "retention")

KEPT = 4
"""Moments of suites whose problems a run keeps in memory: a study has a million of them."""

Answers = Callable[[str, int], Sequence[Sample]]
"""From a suite and a step to all of its graded problems; empty if they were not kept."""


@dataclass(frozen=True)
class SuiteFacts:
    """What a suite asks.

    Attributes:
        name: Its name in the recipe.
        purpose: ``id``, ``ood`` or ``retention``.
        rule: The rule it asks under; empty for a file of the user's.
        exposure: ``known to the base``, ``never seen`` or ``unknown``.
        attempts: Answers per problem.
        split: ``train`` (asked about what was trained), ``validation`` (chosen by, shown in no table; also a file's, if
            the suite is called so), ``test``, …
        asked_between: Whether it is asked at the moments between the first and the last.
    """

    name: str
    purpose: str
    rule: str
    exposure: str
    attempts: int = 1
    split: str = ""
    asked_between: bool = True


VALIDATION = "validation"


def _no_answers(suite: str, step: int) -> Sequence[Sample]:  # noqa: ARG001  (the signature is that of `Answers`)
    return ()


@dataclass(frozen=True)
class StartFacts:
    """Where a run of a study goes on from.

    Attributes:
        arm: The arm with the same seed whose checkpoint it starts from.
        step: Of that checkpoint.
    """

    arm: str
    step: int


@dataclass(frozen=True)
class RunData:
    """One run as its folder, or a line of compact records, tells it.

    Attributes:
        folder: Where it lies.
        name: Label of the arm; runs that differ in nothing but the seed share it.
        axes: Axis of the study to its point, as words.
        seed: The run's seed.
        study: Name of the study it is part of; empty outside of one.
        status: ``finished``, ``stopped``, ``interrupted``, what the study says of it, or ``unfinished``.
        recipe: ``recipe.yaml``; of a run that goes on from another one's checkpoint with the model that that one began
            with, and ``starts_from``.
        plan: ``plan.json``; empty if there is none.
        metrics: Lines of ``metrics.jsonl``.
        records: Lines of ``records.jsonl``; empty if the run never got there.
        result: ``result.json``; empty if there is none.
        notes: What the study's author says about it.
        faults: What could not be read.
        has_texts: Whether prompts and replies were kept, or only what became of them.
        answers: Where its graded problems come from.
        derived: What readers made of its problems and want to find again.
    """

    folder: Path
    name: str
    axes: Mapping[str, str]
    seed: int
    status: str
    recipe: Mapping[str, Any]
    plan: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    records: tuple[Record, ...]
    result: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    study: str = ""
    has_texts: bool = True
    answers: Answers = field(default=_no_answers, compare=False, repr=False)
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    _samples: dict[tuple[str, int], tuple[Sample, ...]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def suites(self) -> dict[str, SuiteFacts]:
        """The suites by name: ID first, then OOD, then retention, otherwise in the recipe's order."""
        planned, asked = self.plan.get("suites", {}), self.recipe.get("suites", {})
        facts = {}
        for name in [*asked, *(name for name in planned if name not in asked)]:
            told = {**asked.get(name, {}), **planned.get(name, {})}
            facts[name] = SuiteFacts(
                name=name,
                purpose=str(told.get("purpose", "ood")),
                rule=str(told.get("rule") or told.get("path") or ""),
                exposure=str(told.get("exposure", "unknown")),
                attempts=int(told.get("attempts", 1)),
                split=VALIDATION if told.get("path") and name == VALIDATION else str(told.get("split", "")),
                asked_between=told.get("size_during") != 0,
            )
        return dict(sorted(facts.items(), key=lambda pair: _rank(pair[1].purpose)))

    @property
    def start(self) -> StartFacts | None:
        """The checkpoint of another run that it goes on from; None if it starts from its recipe's model."""
        told = self.recipe.get("starts_from")
        return None if told is None else StartFacts(str(told["arm"]), int(told["step"]))

    def record_at(self, step: int) -> Record | None:
        """Return the record of a step, if there is one."""
        return next((record for record in self.records if record.step == step), None)

    def samples(self, suite: str, step: int) -> tuple[Sample, ...]:
        """Return the graded problems of a suite at a step that the tables count: all, or the report half.

        Empty if they were not kept.
        """
        if (suite, step) not in self._samples:
            while len(self._samples) >= KEPT:
                del self._samples[next(iter(self._samples))]
            graded = self.answers(suite, step)
            self._samples[suite, step] = tuple(sample for sample in graded if sample.half != "select")
        return self._samples[suite, step]


def _rank(purpose: str) -> int:
    return PURPOSES.index(purpose) if purpose in PURPOSES else len(PURPOSES)
