"""The peak of a curve without the winner's curse: chosen on one half of the problems, read on the other.

The largest of M noisy rates is too high by about their standard error times the expected maximum of M normal numbers.
Here the problems' keys are parted in two; the best moment of one half is read on the other, both ways round, and the
two readings are put together again problem by problem.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.records import Estimate
from holdfast.report import over_seeds
from holdfast.report.compare import Arm
from holdfast.report.contrasts import common_steps
from holdfast.report.pairing import place_of, solved


class HonestPeak(NamedTuple):
    """The peak of an arm on a suite.

    Attributes:
        step: Of the highest rate over all problems.
        naive: That rate, as it is mostly told.
        honest: Each half of the problems at the step that the other half chooses.
        forgotten: The end minus the honest peak, on the same problems.
    """

    step: int
    naive: Estimate
    honest: Estimate
    forgotten: Estimate


def honest_peak(arm: Arm, suite: str) -> HonestPeak | None:
    """Return the peak of an arm's success on a suite; None where answers were not kept, or at fewer than 3 moments."""
    steps = common_steps(arm, suite)
    asked = [{place_of(sample) for run in arm.measured for sample in run.samples(suite, step)} for step in steps]
    places = sorted(set.intersection(*asked)) if asked else []
    if len(steps) < 3 or not places:
        return None
    grades_TSN = np.array(
        [[_grades(arm, number, suite, step, places) for number in range(len(arm.measured))] for step in steps]
    )
    keys = [key for _, _, key in places]
    distinct = {key: place % 2 for place, key in enumerate(sorted(set(keys)))}
    half_N = np.array([distinct[key] for key in keys])
    means_TN = grades_TSN.mean(axis=1)
    chosen_N = np.zeros(len(places), dtype=int)
    for half in (0, 1):
        chosen_N[half_N == half] = int(means_TN[:, half_N != half].mean(axis=1).argmax())
    top = int(means_TN.mean(axis=1).argmax())
    picked_SN = grades_TSN[chosen_N, :, np.arange(len(places))].T
    change = over_seeds.Crossed(grades_TSN[-1] - picked_SN, keys, 1.0)
    return HonestPeak(
        steps[top],
        over_seeds.rate(grades_TSN[top], keys),
        over_seeds.rate(picked_SN, keys),
        over_seeds.contrast([change]),
    )


def _grades(arm: Arm, number: int, suite: str, step: int, places: list[tuple[int, int, str]]) -> NDArray[np.float64]:
    found = {place_of(sample): float(solved(sample)) for sample in arm.measured[number].samples(suite, step)}
    return np.array([found[place] for place in places])
