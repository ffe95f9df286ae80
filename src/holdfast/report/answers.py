"""Answers that were right before training and wrong after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.records import Sample
from holdfast.report.compare import Arm, all_suites, base_and_end, called
from holdfast.report.pairing import solved
from holdfast.report.run_data import SuiteFacts

SHOWN = 6
LONGEST_PROMPT, LONGEST_REPLY = 1_500, 800


@dataclass(frozen=True)
class Flip:
    """One problem, answered at step 0 and at the end of a run."""

    arm: str
    seed: int
    before: Sample
    after: Sample


@dataclass(frozen=True)
class Flips:
    """The answers of one suite that flipped.

    Attributes:
        lost, won: Numbers of right answers that became wrong, and the reverse, over all arms and seeds.
        pairs: Answers compared.
        shown: Some of the lost ones, of as many arms and distinct problems as there is room for.
    """

    suite: SuiteFacts
    lost: int
    won: int
    pairs: int
    shown: tuple[Flip, ...]

    @property
    def name(self) -> str:
        """The suite as tables call it."""
        return called(self.suite)


def flips(groups: Sequence[Arm]) -> list[Flips]:
    """Compare the answers at step 0 and at the end, suite by suite; suites without any are left out."""
    found = []
    for suite in all_suites(groups):
        by_arm: list[list[Flip]] = []
        lost = won = pairs = 0
        for arm in groups:
            mine = []
            for run in arm.measured:
                for before, after in base_and_end(run, suite.name):
                    pairs += 1
                    won += solved(after) and not solved(before)
                    if solved(before) and not solved(after):
                        mine.append(Flip(arm.name, run.seed, before, after))
            lost += len(mine)
            by_arm.append(mine)
        if pairs:
            found.append(Flips(suite, lost, won, pairs, _pick(by_arm)))
    return found


def _pick(by_arm: Sequence[Sequence[Flip]]) -> tuple[Flip, ...]:
    """Take one arm after the other, the arm with most losses first, each distinct problem once."""
    queues = [list(flips) for flips in sorted(by_arm, key=len, reverse=True)]
    chosen: list[Flip] = []
    keys: set[str] = set()
    while any(queues) and len(chosen) < SHOWN:
        for queue in queues:
            while queue and queue[0].before.key in keys:
                queue.pop(0)
            if queue and len(chosen) < SHOWN:
                chosen.append(queue.pop(0))
                keys.add(chosen[-1].before.key)
    return tuple(chosen)
