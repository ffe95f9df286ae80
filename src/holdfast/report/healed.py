"""The arms of a study that heal a checkpoint without training, and the line of interpolation beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.report.compare import Arm
from holdfast.report.contrasts import Term, at, base, end, measure
from holdfast.report.groups import Section
from holdfast.report.matching import between, strength_at
from holdfast.report.run_data import RunData, SuiteFacts

INTERPOLATE = "interpolate"
UNDONE, EDIT, ARTEFACT = "heal_undone", "heal_edit", "heal_artefact"


@dataclass(frozen=True)
class Point:
    """A model on the line of interpolation: an arm at a step.

    Attributes:
        undone: Share of the update that is undone there.
        arm, step: Whose answers; None is the arm's end.
    """

    undone: float
    arm: Arm
    step: int | None

    def term(self, suite: str, weight: float) -> Term:
        """Return its success with a weight."""
        moments = end(self.arm, suite) if self.step is None else at(self.arm, self.step)
        return Term(self.arm, suite, moments, weight)


@dataclass(frozen=True)
class Group:
    """All arms that heal one checkpoint towards one model.

    Attributes:
        start, toward: In words.
        tuned: The checkpoint itself.
        arms: The healed ones, without those of interpolation.
        line: Interpolation, by undone share: from the checkpoint (0) to what it is healed towards (1).
    """

    start: str
    toward: str
    tuned: Point
    arms: tuple[Arm, ...]
    line: tuple[Point, ...]

    def against_tuned(self, arm: Arm, suite: str) -> list[Term]:
        """Return the terms of an arm's change of success since the checkpoint."""
        return [Term(arm, suite, end(arm, suite)), self.tuned.term(suite, -1.0)]

    def same_undone(self, arm: Arm, suite: str) -> list[Term]:
        """Return the terms of an arm's success against interpolation that undoes as much, read between its points."""
        return self._against_line(arm, suite, undone(arm) or 0.0)

    def same_id(self, arm: Arm, suite: str, known: Sequence[SuiteFacts]) -> list[Term]:
        """Return the same against interpolation that has as much success on all of ``known`` together.

        Of several such strengths it is the largest: what undoes most at that price.
        """
        line = [(point.undone, _mean(point, known)) for point in self.line]
        told = [(strength, value) for strength, value in line if value is not None]
        own = _mean(Point(0.0, arm, None), known)
        return self._against_line(arm, suite, 0.0 if own is None or not told else strength_at(told, own))

    def _against_line(self, arm: Arm, suite: str, strength: float) -> list[Term]:
        weights = between([point.undone for point in self.line], strength)
        beside = [self.line[place].term(suite, -weight) for place, weight in weights.items()]
        return [Term(arm, suite, end(arm, suite)), *beside]


def heal_of(run: RunData) -> Mapping[str, Any] | None:
    """Return the ``heal`` block of a run that heals and does not train; None for any other."""
    block = run.recipe.get("heal")
    steps = (run.recipe.get("budget") or {}).get("steps")
    return block if isinstance(block, dict) and steps == 0 else None


def groups(section: Section) -> list[Group]:
    """Return the groups of a section, in the order of its arms."""
    by_ends: dict[tuple[str, str], list[Arm]] = {}
    for arm in section.arms:
        block = heal_of(arm.runs[0]) if arm.measured else None
        if block is not None:
            by_ends.setdefault((_start(arm), _toward(block)), []).append(arm)
    made = (_group(section, start, toward, arms) for (start, toward), arms in by_ends.items())
    return [group for group in made if group is not None]


def reading(arm: Arm, name: str) -> float | None:
    """Return a reading at an arm's first moment, averaged over seeds; None if none has it."""
    found = [run.records[0].readings.get(name) for run in arm.measured]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def undone(arm: Arm) -> float | None:
    """Return the share of the update that an arm undoes, averaged over seeds."""
    return reading(arm, UNDONE)


def _group(section: Section, start: str, toward: str, arms: list[Arm]) -> Group | None:
    first = arms[0].runs[0]
    tuned = _point(section, 0.0, None if first.start is None else (first.start.arm, first.start.step))
    block = heal_of(first) or {}
    told = block.get("toward")
    place = (str(told["arm"]), int(told["step"])) if isinstance(told, Mapping) else None
    source = _point(section, 1.0, place)
    if tuned is None:
        return None
    plain = [arm for arm in arms if (heal_of(arm.runs[0]) or {}).get("name") == INTERPOLATE]
    line = [Point(undone(arm) or 0.0, arm, None) for arm in plain]
    ends = [tuned, *([source] if source is not None else [])]
    return Group(
        start=start,
        toward=toward,
        tuned=tuned,
        arms=tuple(arm for arm in arms if arm not in plain),
        line=tuple(sorted([*line, *ends], key=lambda point: point.undone)),
    )


def _point(section: Section, share: float, place: tuple[str, int] | None) -> Point | None:
    """Return where a checkpoint was measured; without a place it is the base, before an arm's first step."""
    for arm in section.arms:
        run = arm.runs[0]
        if place is None:
            if run.start is None and heal_of(run) is None and base(arm):
                return Point(share, arm, 0)
        elif place[0] in (arm.name, run.name) and all(r.record_at(place[1]) is not None for r in arm.measured):
            return Point(share, arm, place[1])
    return None


def _mean(point: Point, suites: Sequence[SuiteFacts]) -> float | None:
    found = [measure([point.term(suite.name, 1.0)]) for suite in suites]
    values = [one.estimate.value for one in found if one is not None and one.estimate.value is not None]
    return sum(values) / len(values) if values and len(values) == len(found) else None


def _start(arm: Arm) -> str:
    start = arm.runs[0].start
    return str(arm.runs[0].recipe.get("model_name_or_path")) if start is None else f"{start.arm}, step {start.step}"


def _toward(block: Mapping[str, Any]) -> str:
    toward = block.get("toward")
    return f"{toward['arm']}, step {toward['step']}" if isinstance(toward, Mapping) else str(toward)
