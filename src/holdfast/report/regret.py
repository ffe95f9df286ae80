"""What a rule of stopping gives away: success at the moments that it keeps, against the best moment of each run.

With x_n(t) the outcome of problem n at moment t of a run, k the moment that is kept, and T the trained moments (step 0
is none)::

    best moment      t* = argmax over T of mean_n x_n(t)                          the earliest of equals
    regret           mean_n ( x_n(t*) − x_n(k) )
    cross-fitted     the same, but for each half of the problems t* is chosen on the other half

The first is too high, because the best of several noisy rates is chosen and measured on the same problems; the second
has no such bias, and may be negative. Means are over arms within each seed, then over seeds; intervals speak of other
seeds and other problems (`holdfast.report.over_seeds`). Where the graded problems were not kept, readings stand for
them: there is no cross-fitting then, and intervals speak of other seeds only.

Shapes: ``T`` moments, ``N`` problems, ``S`` seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.records import Estimate
from holdfast.report import over_seeds
from holdfast.report.contrasts import Graded, Place, at_places, graded_of, reading_name, shared_places
from holdfast.report.run_data import RunData

Array = NDArray[np.float64]


class Kept(NamedTuple):
    """The moment of a run that a rule keeps, and the name of the run's arm."""

    arm: str
    run: RunData
    step: int


class Outcome(NamedTuple):
    """What came of keeping some moments.

    Attributes:
        level: Success there.
        regret, fitted: As above; None where no trained moment is known, or the problems were not kept.
        each: The plain regret of each run, in the order given; None where it is unknown.
    """

    level: Estimate | None
    regret: Estimate | None
    fitted: Estimate | None
    each: tuple[float | None, ...]


class _Of(NamedTuple):
    """One run's problems: the outcome at the kept moment, and both regrets, each (N,)."""

    places: tuple[Place, ...]
    values: tuple[Array, Array, Array]


def outcome(kept: Sequence[Kept], suite: str) -> Outcome:
    """Return success on a suite at the kept moments, and the regret against the best moment of each run."""
    found = [_by_problem(one, suite) for one in kept]
    known = [(one, made) for one, made in zip(kept, found, strict=True) if made is not None]
    if kept and len(known) == len(kept):
        places = shared_places([made.places for _, made in known])
        pooled = _pooled(known, places) if places else None
        if pooled is not None:
            keys = [key for _, _, key in places]
            level, plain, fitted = pooled
            return Outcome(
                over_seeds.rate(level, keys),
                over_seeds.contrast([over_seeds.Crossed(plain, keys, 1.0)]),
                over_seeds.contrast([over_seeds.Crossed(fitted, keys, 1.0)]),
                tuple(float(made.values[1].mean()) for _, made in known),
            )
    return _by_readings(kept, suite)


def trained_moments(run: RunData, suite: str) -> list[int]:
    """Return the steps after 0 at which a suite's success is known."""
    name = reading_name(suite)
    return [record.step for record in run.records if record.step > 0 and record.readings.get(name) is not None]


def best_moment(run: RunData, suite: str) -> int | None:
    """Return the trained step at which success was highest, the earliest of equals; None if none is known."""
    steps, name = trained_moments(run, suite), reading_name(suite)
    return max(steps, key=lambda step: (_reading(run, name, step), -step), default=None)


class _Trained(NamedTuple):
    """Outcomes at the trained moments of one run, on the problems that all of its moments asked."""

    places: tuple[Place, ...]
    steps: list[int]
    right_TN: Array
    first_N: NDArray[np.bool_]


def _by_problem(one: Kept, suite: str) -> _Of | None:
    key = ("trained", suite)
    if key not in one.run.derived:
        one.run.derived[key] = _trained(one.run, suite)
    made: _Trained | None = one.run.derived[key]
    if made is None:
        return None
    graded = graded_of(one.run, suite, one.step, "success")
    if not set(made.places) <= set(graded.places):
        return None
    kept_N = at_places(graded, made.places)
    plain_N = made.right_TN[int(np.argmax(made.right_TN.mean(1)))] - kept_N
    fitted_N = plain_N.copy()
    for own_N in (made.first_N, ~made.first_N):
        if own_N.any() and (~own_N).any():
            chosen = int(np.argmax(made.right_TN[:, ~own_N].mean(1)))
            fitted_N[own_N] = made.right_TN[chosen][own_N] - kept_N[own_N]
    return _Of(made.places, (kept_N, plain_N, fitted_N))


def _trained(run: RunData, suite: str) -> _Trained | None:
    steps = trained_moments(run, suite)
    asked = [graded_of(run, suite, step, "success") for step in steps]
    base = graded_of(run, suite, 0, "success")
    rosters = [graded.places for graded in (*asked, base) if graded is not base or graded.places]
    if not asked or not all(rosters):
        return None
    places = shared_places(rosters)
    if not places:
        return None
    right_TN = np.array([at_places(graded, places) for graded in asked])
    return _Trained(places, steps, right_TN, np.array([_first_half(key) for _, _, key in places]))


def _pooled(known: Sequence[tuple[Kept, _Of]], places: tuple[Place, ...]) -> list[Array] | None:
    """Return the means over arms of each seed, each (S, N), over the seeds that all arms have; None if none has."""
    cells: dict[str, dict[int, list[Array]]] = {}
    for one, made in known:
        at = [at_places(Graded(made.places, values_N), places) for values_N in made.values]
        cells.setdefault(one.arm, {})[one.run.seed] = at
    seeds = sorted(set.intersection(*(set(of_arm) for of_arm in cells.values())))
    if not seeds:
        return None
    return [
        np.array([np.mean([arm[seed][kind] for arm in cells.values()], axis=0) for seed in seeds]) for kind in range(3)
    ]


def _by_readings(kept: Sequence[Kept], suite: str) -> Outcome:
    name = reading_name(suite)
    levels: list[float | None] = []
    each: list[float | None] = []
    for one in kept:
        best, here = best_moment(one.run, suite), one.run.record_at(one.step)
        level = None if here is None else here.readings.get(name)
        levels.append(level)
        each.append(None if best is None or level is None else _reading(one.run, name, best) - level)
    return Outcome(_over_seeds(kept, levels), _over_seeds(kept, each), None, tuple(each))


def _over_seeds(kept: Sequence[Kept], values: Sequence[float | None]) -> Estimate | None:
    cells: dict[int, list[float]] = {}
    for one, value in zip(kept, values, strict=True):
        if value is not None:
            cells.setdefault(one.run.seed, []).append(value)
    arms = len({one.arm for one in kept})
    whole = [sum(found) / len(found) for _, found in sorted(cells.items()) if len(found) == arms]
    return over_seeds.of_seeds(whole) if whole else None


def _reading(run: RunData, name: str, step: int) -> float:
    record = run.record_at(step)
    value = None if record is None else record.readings.get(name)
    assert value is not None
    return value


def _first_half(key: str) -> bool:
    """One bit of a hash of its own, so that halves are independent of those by which suites are split."""
    return bool(hashlib.sha256(f"holdfast regret {key}".encode()).digest()[0] & 1)
