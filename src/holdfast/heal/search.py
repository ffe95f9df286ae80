"""Choose how to heal: every candidate is tried on suites, chosen on one half of the problems, reported on the other.

The choice is the candidate with the highest success out of distribution on the *select* half among those that lose no
more in distribution there than the budget allows; of equals the one that edits less. Beside it stands interpolation
(WiSE-FT), at the same undone share of the update and at the same loss in distribution, on the *report* half, which no
choice has read. Nothing is written: each candidate is made in memory and asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.errors import UserError
from holdfast.evaluate.evaluate import SuiteResult, evaluate
from holdfast.evaluate.suite import SELECT, Suite, make_all
from holdfast.heal.apply import Operation, Summary, summary
from holdfast.heal.candidates import Candidate, in_words
from holdfast.heal.healing import healing_of
from holdfast.models.compute import dtype_named
from holdfast.models.load import load
from holdfast.models.pairs import ModelPair
from holdfast.recipe import Recipe
from holdfast.records import Sample
from holdfast.report import heal_page
from holdfast.report.matching import strength_at
from holdfast.spectral.cache import FactorCache

Results = Mapping[str, SuiteResult]
"""Of one model, by suite."""
ID, OOD = "id", "ood"


class Tried(NamedTuple):
    """One candidate, made and asked.

    Attributes:
        candidate: As it was asked for; of a match with the strength that was found.
        told: What it does to the weights.
        results: What it answered, both halves.
    """

    candidate: Candidate
    told: Summary
    results: Results


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        suites: What was asked.
        tuned, base: What the two models answered.
        tried: All candidates, in order.
        chosen: The choice; None if every candidate loses more in distribution than the budget allows.
        same_undone: Interpolation that undoes as much of the update as the choice; None if that is the choice.
        same_cost: Interpolation that loses as much in distribution as the choice, as far as its own candidates tell on
            the select half; None likewise.
        id_budget: Share of success in distribution that the choice might lose.
    """

    suites: tuple[Suite, ...]
    tuned: Results
    base: Results
    tried: tuple[Tried, ...]
    chosen: Tried | None
    same_undone: Tried | None
    same_cost: Tried | None
    id_budget: float


def search(
    pair: ModelPair,
    recipe: Recipe,
    candidates: Sequence[Candidate],
    *,
    id_budget: float,
    cache: FactorCache,
    device: torch.device | str = "cpu",
    allow_code: bool = False,
    said: Callable[[str], None] = print,
) -> Search:
    """Try all candidates and choose; see the module docstring.

    Args:
        pair: The base (or another model that is healed towards) and the tuned model.
        recipe: Its suites are asked: at least one with the purpose ``id`` and one with ``ood``.
        candidates: What is tried; see `holdfast.heal.candidates`.
        id_budget: Success in distribution that may be lost, as a share: 0.02 are two points.
        cache: Of the base's singular systems.
        device: Where models answer and products run.
        allow_code: Whether the recipe, or a candidate, may name outside code.
        said: Hears of every candidate.

    Raises:
        UserError: suites are missing, or a candidate cannot be made.
    """
    asker = _Asker(pair, recipe, cache=cache, device=torch.device(device), allow_code=allow_code, said=said)
    base, tuned = asker.model(pair.names[0]), asker.model(pair.names[1])
    tried = tuple(asker.candidate(candidate) for candidate in candidates)

    def lost(results: Results) -> float:
        return success(asker.suites, tuned, ID, SELECT) - success(asker.suites, results, ID, SELECT)

    def regained(one: Tried) -> tuple[float, float]:
        return success(asker.suites, one.results, OOD, SELECT), -(one.told.edit or 0.0)

    allowed = [one for one in tried if lost(one.results) <= id_budget + 1e-12]
    chosen = max(allowed, key=regained, default=None)
    same_undone = same_cost = None
    if chosen is not None and chosen.candidate["name"] != "interpolate":
        line = [
            (0.0, 0.0),
            *((one.told.undone or 0.0, lost(one.results)) for one in tried if _plain(one)),
            (1.0, lost(base)),
        ]
        same_undone = asker.interpolation(chosen.told.undone or 0.0)
        same_cost = asker.interpolation(strength_at(sorted(line), lost(chosen.results)))
    return Search(asker.suites, tuned, base, tried, chosen, same_undone, same_cost, id_budget)


def success(suites: Sequence[Suite], results: Results, purpose: str, half: str) -> float:
    """Return the mean success over the suites of a purpose, on one half of their problems."""
    suffix = f"_{SELECT}" if half == SELECT else ""
    values = [
        results[suite.name].estimates[f"eval_{suite.name}_success{suffix}"].value
        for suite in suites
        if suite.purpose == purpose
    ]
    return sum(value or 0.0 for value in values) / len(values)


def told(found: Search, *, base: str, tuned: str) -> heal_page.Found:
    """Return a search as the report takes it: the answers of the report half, and names."""

    def answers(results: Results) -> dict[str, list[Sample]]:
        return {name: [s for s in result.samples if s.half != SELECT] for name, result in results.items()}

    def healing(one: Tried) -> heal_page.Healing:
        id_, ood = (success(found.suites, one.results, purpose, SELECT) for purpose in (ID, OOD))
        return heal_page.Healing(
            in_words(one.candidate), str(one.candidate["name"]), *one.told[:3], answers(one.results), id_, ood
        )

    beside = {"as much undone": found.same_undone, "as much paid": found.same_cost}
    return heal_page.Found(
        base_name=base,
        tuned_name=tuned,
        purposes={suite.name: suite.purpose for suite in found.suites},
        base=answers(found.base),
        tuned=answers(found.tuned),
        tried=tuple(map(healing, found.tried)),
        chosen=None if found.chosen is None else found.tried.index(found.chosen),
        beside={label: healing(one) for label, one in beside.items() if one is not None},
        id_budget=found.id_budget,
    )


def _plain(one: Tried) -> bool:
    return str(one.candidate["name"]) == "interpolate"


@dataclass
class _Asker:
    """Makes models and asks them the recipe's suites."""

    pair: ModelPair
    recipe: Recipe
    cache: FactorCache
    device: torch.device
    allow_code: bool
    said: Callable[[str], None]

    def __post_init__(self) -> None:
        reads = [
            f"eval_{name}_success" for name, spec in self.recipe.suites.items() if not spec.decoding.teacher_forced
        ]
        self.suites = make_all(self.recipe, reads=tuple(reads), allow_code=self.allow_code)
        missing = [purpose for purpose in (ID, OOD) if not any(suite.purpose == purpose for suite in self.suites)]
        if missing:
            raise UserError(
                f"heal --search needs suites with the purposes id and ood; the recipe has none with {missing[0]!r}. "
                "Nothing was written."
            )

    def candidate(self, candidate: Candidate) -> Tried:
        operation = Operation(
            self.pair, healing_of(candidate, allow_code=self.allow_code), cache=self.cache, device=self.device
        )
        effects, tensors = [], {}
        for healed in operation.tensors():
            effects.append(healed.effect)
            tensors[healed.entry.name] = healed.tensor
        told = summary(effects)
        results = self._asked(self.pair.names[1], tensors)
        self.said(f"{in_words(candidate)}: {self._line(results)}")
        return Tried(candidate, told, results)

    def interpolation(self, strength: float) -> Tried:
        return self.candidate({"name": "interpolate", "strength": min(1.0, max(0.0, strength))})

    def model(self, name: str) -> Results:
        results = self._asked(name, None)
        self.said(f"{name}: {self._line(results)}")
        return results

    def _asked(self, name: str, tensors: Mapping[str, Tensor] | None) -> Results:
        recipe = self.recipe
        loaded = load(name, dtype=recipe.dtype, attn_implementation=recipe.attn_implementation, tensors=tensors)
        model: Any = loaded.model.to(self.device)
        dtype = next(model.parameters()).dtype if recipe.compute_dtype == "auto" else dtype_named(recipe.compute_dtype)
        return {
            suite.name: evaluate(
                model,
                loaded.speaker,
                suite,
                batch_size=recipe.per_device_eval_batch_size,
                compute_dtype=dtype,
            )
            for suite in self.suites
        }

    def _line(self, results: Results) -> str:
        id_, ood = (100 * success(self.suites, results, purpose, SELECT) for purpose in (ID, OOD))
        return f"select half: id {id_:.1f} %, ood {ood:.1f} %"
