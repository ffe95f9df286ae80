"""What one arm gains over another by the difficulty of the problem, where an environment tells it.

Environments with levels of difficulty (``arithmetic``) say of every answer ``right_at_level_<k>``, None but for the
problem's own level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.records import Estimate, Sample
from holdfast.report import over_seeds
from holdfast.report.compare import Arm, end_of
from holdfast.report.contrasts import Place
from holdfast.report.pairing import place_of
from holdfast.report.run_data import RunData

LEVEL = re.compile(r"right_at_level_(\d+)")


@dataclass(frozen=True)
class ByLevel:
    """Differences of success at the end, level by level.

    Attributes:
        gains: Level to the difference, 0.1 for ten points.
        slope: What one level more adds to it: the least-squares line through the levels, each counting alike.
    """

    gains: Mapping[int, Estimate]
    slope: Estimate | None


def gains_by_level(arm: Arm, against: Arm, suite: str) -> ByLevel | None:
    """Return the gains of ``arm`` over ``against`` at their ends; None without levels or without a shared seed."""
    ends = [{run.seed: _end(run, suite) for run in one.measured} for one in (arm, against)]
    seeds = sorted(seed for seed in ends[0].keys() & ends[1].keys() if ends[0][seed] and ends[1][seed])
    if not seeds:
        return None
    places = sorted(set.intersection(*(set(own[seed]) for own in ends for seed in seeds)))
    levels = [level_of(ends[0][seeds[0]][place]) for place in places]
    if not places or None in levels:
        return None
    difference_SN = np.array(
        [[float(ends[0][s][p].solved_at == 1) - float(ends[1][s][p].solved_at == 1) for p in places] for s in seeds]
    )
    level_N = np.array(levels, dtype=np.float64)
    keys = [key for _, _, key in places]
    present = sorted(set(level_N.tolist()))
    gains = {}
    for level in present:
        own = level_N == level
        part = over_seeds.Crossed(difference_SN[:, own], [k for k, one in zip(keys, own, strict=True) if one], 1.0)
        gains[int(level)] = over_seeds.contrast([part])
    if len(present) < 3:
        return ByLevel(gains, None)
    x = np.array(present)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    # a problem's share in the mean of its level, and the level's in the slope
    each_N = np.zeros(len(places))
    for level, weight in zip(present, weights, strict=True):
        own = level_N == level
        each_N[own] = weight * len(places) / own.sum()
    slope = over_seeds.Crossed(difference_SN * each_N, keys, float(np.abs(each_N).max()))
    return ByLevel(gains, over_seeds.contrast([slope]))


def level_of(sample: Sample) -> int | None:
    """Return the level of the problem that was answered; None if its environment has none."""
    told = [LEVEL.fullmatch(name) for name, value in sample.facts.items() if value is not None]
    return next((int(found[1]) for found in told if found), None)


def _end(run: RunData, suite: str) -> dict[Place, Sample]:
    record = end_of(run, suite)
    return {} if record is None else {place_of(sample): sample for sample in run.samples(suite, record.step)}
