"""What goes on from the checkpoints of a fine-tuned arm: by reinforcement, and beside it by more fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.records import Estimate
from holdfast.report import over_seeds
from holdfast.report.compare import Arm
from holdfast.report.groups import Section, method_of
from holdfast.report.healed import heal_of
from holdfast.report.run_data import RunData

REINFORCED = ("ppo", "grpo")


@dataclass(frozen=True)
class Pair:
    """Ways to go on from one checkpoint.

    Attributes:
        step: Of the checkpoint; 0 is the base.
        rewarded: The arm that goes on by reinforcement.
        more: The arms that go on by fine-tuning.
    """

    step: int
    rewarded: Arm
    more: tuple[Arm, ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All of them, the rewarded one first."""
        return (self.rewarded, *self.more)


def found(section: Section) -> tuple[Arm | None, list[Pair]]:
    """Return the fine-tuned arm and what goes on from it, by step; None without both kinds."""
    arms = [arm for arm in section.arms if arm.measured]
    rewarded = [arm for arm in arms if method_of(arm.runs[0]) in REINFORCED]
    names = {arm.runs[0].start.arm for arm in rewarded if arm.runs[0].start is not None}
    tuned = next((arm for arm in arms if arm.name in names or arm.runs[0].name in names), None)
    if tuned is None:
        return None, []
    more = [
        arm
        for arm in arms
        if method_of(arm.runs[0]) not in REINFORCED and arm is not tuned and heal_of(arm.runs[0]) is None
    ]
    pairs = [Pair(_step(arm), arm, tuple(one for one in more if _step(one) == _step(arm))) for arm in rewarded]
    return tuned, sorted(pairs, key=lambda pair: pair.step)


def mixed_share(arm: Arm) -> float | None:
    """Return the share of groups whose rewards differed, in the first quarter of training; None if it was not logged.

    Later there are few where it succeeds.
    """
    told = []
    for run in arm.measured:
        own = [line["mixed_groups"] for line in run.metrics if line.get("mixed_groups") is not None]
        told += own[: max(1, len(own) // 4)]
    return sum(told) / len(told) if told else None


def level_of_any(arm: Arm, suite: str) -> Estimate | None:
    """Return the share of problems that at least one of several answers solves, at an arm's end."""
    return _rate([(run, _any_right(run, suite, run.records[-1].step)) for run in arm.measured])


def solved_anew(arm: Arm, suite: str, against: str, tuned: Arm, pairs: Sequence[Pair]) -> Estimate | None:
    """Return the share of problems that an arm solves at its end and that nothing before it, or beside it, solved.

    Args:
        arm, suite: Whose answers to what; at least one of them must be right.
        against: The suite, of the same problems, that tells what was solved before.
        tuned, pairs: See `found`.
    """
    known = [tuned, *(one for pair in pairs for one in pair.arms)]
    made = []
    for run in arm.measured:
        solved = _any_right(run, suite, run.records[-1].step)
        before: dict[tuple[int, str], bool] = {}
        for other in known:
            for twin in other.measured:
                if twin.seed != run.seed:
                    continue
                steps = [record.step for record in twin.records]
                for step in steps[:1] if method_of(other.runs[0]) in REINFORCED else steps:
                    for place, right in _any_right(twin, against, step).items():
                        before[place] = before.get(place, False) or right
        made.append((run, {place: solved[place] and not before[place] for place in solved if place in before}))
    return _rate(made)


def _rate(made: Sequence[tuple[RunData, dict[tuple[int, str], bool]]]) -> Estimate | None:
    places = sorted(set.intersection(*(set(one) for _, one in made))) if made else []
    if not places:
        return None
    values_SN = np.array([[float(one[place]) for place in places] for _, one in made])
    return over_seeds.rate(values_SN, [key for _, key in places])


def _any_right(run: RunData, suite: str, step: int) -> dict[tuple[int, str], bool]:
    right: dict[tuple[int, str], bool] = {}
    for sample in run.samples(suite, step):
        place = (sample.index, sample.key)
        right[place] = right.get(place, False) or sample.solved_at == 1
    return right


def _step(arm: Arm) -> int:
    start = arm.runs[0].start
    return 0 if start is None else start.step
