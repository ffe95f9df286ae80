"""The dynamics of a run in numbers: for each moment, means over prompts with intervals, beside their floors.

All strengths are in units of the outputs' own spread (`holdfast.probes.interactions.measure.Measured.scaled`) unless
``raw`` is asked for, because fine-tuning that only makes a model surer makes every interaction larger. Intervals draw
whole prompts with replacement.

Reliability G is agreement with other models where there are some, and stability over templates where there are none.
The balance and its masses take the former where they can; ``stable_…`` are always by templates, ``gamma_…`` by models.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from holdfast.probes.interactions import cancellation, order
from holdfast.probes.interactions.agreement import agreement, by_chance, stable, stable_by_chance
from holdfast.probes.interactions.backbone import loss_of_set
from holdfast.probes.interactions.denoising import Balance, balance, boundary, past_best, reliable_ratio
from holdfast.probes.interactions.measure import Measured
from holdfast.probes.interactions.moment import Moment
from holdfast.probes.interactions.salience import Signs, fit, rises_with_words, sparsity
from holdfast.probes.interactions.sets import Sets, follow, part, turnover
from holdfast.probes.interactions.transforms import Array
from holdfast.records import Estimate
from holdfast.statistics import cluster_bootstrap


@dataclass(frozen=True)
class Told:
    """What a moment is worth.

    Attributes:
        estimates: By name, without the probe's own in front.
        chances: By the same names: ``past_best``, that the balance is below the best one's, and ``stable_past_best``;
            None where that reliability is unknown.
        balances: B of each prompt, (P,), at every moment so far; empty where no reliability is known.
        orders: Strength of each order from 1, mean over prompts, of ``all``, ``preserved``, ``emerged`` and ``removed``
            (as it was at the start): what adds to the output, and what takes off.
    """

    estimates: Mapping[str, Estimate]
    chances: Mapping[str, float | None]
    balances: tuple[Array, ...]
    orders: Mapping[str, Mapping[str, tuple[float, ...]]]


def tell(history: Sequence[Moment], *, raw: bool = False, seed: int = 0) -> Told:
    """Return the numbers of the last moment of a history; they depend on no later one.

    Args:
        history: Moments of one run, the untrained model's first.
        raw: Whether strengths stay in log-odds.
        seed: Of bootstrap draws and random signs.

    Raises:
        ValueError: there is no moment, or moments are of different prompts.
    """
    if not history or any(moment.measured.keys != history[0].measured.keys for moment in history):
        raise ValueError("the moments of a run must be at least one, all of the same prompts")
    units = [moment.measured if raw else moment.measured.scaled() for moment in history]
    chain = follow([one.interactions_P2M for one in units], units[0].thresholds())
    now, last = units[-1], history[-1]
    keys = now.keys
    found = {
        **{name: _mean(values_P, keys, seed) for name, values_P in _of_one(last.measured, now).items()},
        **{name: _mean(values_P, keys, seed) for name, values_P in _of_sets(units, chain, seed).items()},
        **{name: _mean(values_P, keys, seed) for name, values_P in _losses(last.measured, chain[-1]).items()},
        **_reliability(last, chain[-1], seed),
        **_turnovers(last, chain[-1], seed),
    }
    by_templates = _balances(history, units, chain, by=TEMPLATES)
    balances = _balances(history, units, chain, by=REFERENCES) or by_templates
    chances: dict[str, float | None] = {}
    for prefix, told in (("", balances), ("stable_", by_templates)):
        benefits = [one.benefit for one in told]
        chances[f"{prefix}past_best"] = past_best(benefits, seed=seed) if told else None
        if told:
            masses = _masses(told[-1], whole=not prefix)
            found |= {f"{prefix}{name}": _mean(values_P, keys, seed) for name, values_P in masses.items()}
            found[f"{prefix}boundary"] = boundary(benefits, [moment.step for moment in history], seed=seed)
            found[f"{prefix}reliable_ratio"] = reliable_ratio(told[-1], seed=seed)
    return Told(found, chances, tuple(one.benefit for one in balances), _orders(units, chain[-1]))


def _balances(
    history: Sequence[Moment], units: Sequence[Measured], chain: Sequence[Sets], *, by: Reliability
) -> list[Balance]:
    """Return the masses of every moment; none where those that are to say what is reliable were not asked."""
    if not all(by.asked(moment) for moment in history):
        return []
    reliable_first = by.judge(chain[0].now, by.asked(history[0]))
    return [
        balance(
            sets, first=units[0].interactions_P2M, now=unit.interactions_P2M, reliable_first=reliable_first,
            reliable_now=by.judge(sets.now, by.asked(moment)),
        )
        for moment, unit, sets in zip(history, units, chain, strict=True)
    ]  # fmt: skip


class Reliability(NamedTuple):
    """Who says what is reliable, and how."""

    asked: Callable[[Moment], Sequence[Signs]]
    judge: Callable[[Signs, Sequence[Signs]], Array]


REFERENCES = Reliability(lambda moment: moment.references, agreement)
TEMPLATES = Reliability(lambda moment: moment.templates, stable)


def _of_one(measured: Measured, now: Measured) -> dict[str, Array]:
    """What a moment says without any other."""
    counts = measured.salient()
    return {
        "strength": order.strength(measured.interactions_P2M),
        "high_order": order.high_order_share(now.interactions_P2M),
        "mean_order": order.mean_order(now.interactions_P2M),
        "evidence": cancellation.evidence(measured.values_PM, measured.interactions_P2M),
        "cancelled": cancellation.cancelled(now.interactions_P2M),
        "sparsity": sparsity(counts),
        "fit": fit(measured.values_PM, measured.interactions_P2M, counts),
        "rises": rises_with_words(measured.values_PM).astype(np.float64),
        "noise": measured.noise_P,
        "gap": measured.gap_P,
    }


def _of_sets(units: Sequence[Measured], chain: Sequence[Sets], seed: int) -> dict[str, Array]:
    now, first, sets = units[-1], units[0], chain[-1]
    found: dict[str, Array] = {}
    for name in ("preserved", "emerged", "removed"):
        members: Signs = sets._asdict()[name]
        own = part((first if name == "removed" else now).interactions_P2M, members)
        pull = cancellation.cancellation(own, seed=seed)
        found |= {
            f"{name}_count": (members != 0).sum(axis=(1, 2)).astype(np.float64),
            f"order_{name}": order.mean_order(own),
            f"rho_{name}": pull.corrected,
            f"rho_{name}_plain": pull.rho,
            f"rho_{name}_floor": pull.floor,
        }
    before = chain[-2].removed if len(chain) > 1 else np.zeros_like(sets.removed)
    fresh = np.where((sets.removed != 0) & (before == 0), np.abs(first.interactions_P2M), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found["removal"] = fresh.sum(axis=(1, 2)) / order.strength(first.interactions_P2M)
    return found


def _orders(units: Sequence[Measured], sets: Sets) -> dict[str, dict[str, tuple[float, ...]]]:
    first, now = units[0].interactions_P2M, units[-1].interactions_P2M
    parts = {
        "all": now,
        "preserved": part(now, sets.preserved),
        "emerged": part(now, sets.emerged),
        "removed": part(first, sets.removed),
    }
    return {
        name: {sign: tuple(values_PK.mean(0).tolist()) for sign, values_PK in order.by_order(own)._asdict().items()}
        for name, own in parts.items()
    }


def _losses(measured: Measured, sets: Sets) -> dict[str, Array]:
    """What each set alone would cost, in nats, and the model itself; always by log-odds as they are."""
    found = {
        f"loss_{name}": loss_of_set(measured.values_PM, measured.interactions_P2M, members)
        for name, members in (("preserved", sets.preserved), ("emerged", sets.emerged), ("salient", sets.now))
    }
    return {**found, "loss_model": np.logaddexp(0.0, -measured.values_PM[:, -1])}


def _masses(now: Balance, *, whole: bool) -> dict[str, Array]:
    """Return the masses that hang on who says what is reliable, and with ``whole`` those that do not."""
    return {
        **({"removed": now.removed, "emerged": now.emerged} if whole else {}),
        "balance": now.benefit,
        "removed_unreliable": now.removed_unreliable,
        "emerged_reliable": now.emerged_reliable,
        "emerged_unreliable": now.emerged_unreliable,
    }


def _reliability(moment: Moment, sets: Sets, seed: int) -> dict[str, Estimate]:
    """γ by other models, the stable share by templates, each with what chance would give; by interaction."""
    found = {}
    keys = np.array(moment.measured.keys)
    for word, others, judges in (
        ("gamma", moment.references, (agreement, by_chance)),
        ("stable", moment.templates, (stable, stable_by_chance)),
    ):
        for name in ("preserved", "emerged"):
            members: Signs = sets._asdict()[name]
            at = np.nonzero(members if others else np.zeros_like(members))
            owners = keys[at[0]].tolist()
            for suffix, judge in zip(("", "_chance"), judges, strict=True):
                shares = judge(members, others)[at].tolist() if others else []
                found[f"{word}_{name}{suffix}"] = cluster_bootstrap(shares, owners, seed=seed)
    return found


def _turnovers(moment: Moment, sets: Sets, seed: int) -> dict[str, Estimate]:
    """How much sets differ: from the start, between two drawings of noise, and between templates of one moment."""
    own = moment.measured.salient()
    keys = moment.measured.keys
    nothing = np.full(len(keys), np.nan)
    between = [turnover(own, other) for other in moment.templates]
    return {
        "turnover": _mean(turnover(sets.start, sets.now), keys, seed),
        "noise_turnover": _mean(nothing if moment.again is None else turnover(own, moment.again), keys, seed),
        "template_turnover": _mean(np.mean(between, axis=0) if between else nothing, keys, seed),
    }


def _mean(values_P: Array, keys: Sequence[str], seed: int) -> Estimate:
    known = np.isfinite(values_P)
    owners = [key for key, kept in zip(keys, known, strict=True) if kept]
    return cluster_bootstrap(values_P[known].tolist(), owners, seed=seed)
