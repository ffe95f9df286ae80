"""The arms of a study: what each runs, under which address, and from where it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import Fault, RecipeError
from holdfast.plan import check
from holdfast.recipe import Recipe, override, read, suggest
from holdfast.study.address import address
from holdfast.study.processes import Spread

Point = Mapping[str, Any]
"""Recipe keys, dotted or plain, and their values."""


@dataclass(frozen=True)
class Start:
    """A checkpoint of another arm.

    Attributes:
        arm, address: Of the arm that is run first.
        step: Of its checkpoint.
        base: The model that it began with itself.
    """

    arm: str
    address: str
    step: int
    base: str

    def folder(self, runs: Path) -> Path:
        """Return the checkpoint's folder below the folder that studies share."""
        return runs / self.address / f"checkpoint-{self.step}"


@dataclass(frozen=True)
class Arm:
    """One run of a study.

    Attributes:
        name: The points that made it, for example ``"attention, small"``; the same for all seeds.
        labels: Axis to point.
        seed: The run's seed.
        recipe: What is run.
        address: 16 hex digits of all that its numbers depend on; two studies with one address share the run.
        start: Where it goes on from; None: from its recipe's model as it is published.
        toward: The checkpoint that its model is healed towards, if that is another arm's.
    """

    name: str
    labels: Mapping[str, str]
    seed: int
    recipe: Recipe
    address: str
    start: Start | None = None
    toward: Start | None = None

    @property
    def needs(self) -> tuple[Start, ...]:
        """The checkpoints of other arms that must be there before it runs."""
        return tuple(need for need in (self.start, self.toward) if need is not None)

    @property
    def base(self) -> str:
        """The model that training began with: the recipe's, or that of the arm it goes on from."""
        return self.recipe.model_name_or_path if self.start is None else self.start.base

    def folder(self, runs: Path) -> Path:
        """Return the run folder below the folder that studies share."""
        return runs / self.address


def block_of(base: str | dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a recipe's values: a block as it is, or those of a file beside the study or where the user stands."""
    if isinstance(base, dict):
        return base
    beside = file.parent / base
    return read(beside if beside.exists() else base)


@dataclass(frozen=True)
class Draft:
    """An arm that is not checked yet; ``start`` is its point's ``starts_from``, ``toward`` that of its ``heal``."""

    name: str
    labels: Mapping[str, str]
    seed: int
    values: Mapping[str, Any]
    start: Mapping[str, Any] | None
    toward: Mapping[str, Any] | None
    where: str

    @property
    def needs(self) -> tuple[Mapping[str, Any], ...]:
        """The checkpoints of other arms that it names."""
        return tuple(need for need in (self.start, self.toward) if need is not None)


def draft(
    base: Mapping[str, Any], points: Sequence[tuple[str, str, Point]], seed: int, *, file: Path, quick: bool = False
) -> Draft:
    """Return the arm of one combination of points, not yet checked.

    Args:
        base: The recipe's values that points change.
        points: Axis, name of the point and its changes, in the order in which they are made.
        seed: The run's.
        file: The study's.
        quick: Whether the ``quick`` block of a point, for the small version of the study, counts.
    """
    name = ", ".join(point for _, point, _ in points if point) or "base"
    where = f"{file}, arm {name!r}"
    values, start = dict(base), None
    for _, _, changes in points:
        own = dict(changes)
        small = own.pop("quick", {})
        if quick:
            own = changed(own, small, source=where)
        if "recipe" in own:
            values = block_of(str(own.pop("recipe")), file)
        start = own.pop("starts_from", start)
        values = changed(values, own, source=where)
    values["seed"] = seed
    values.pop("output_dir", None)  # the study owns the folders
    heal = values.get("heal")
    toward = heal.get("toward") if isinstance(heal, Mapping) and not isinstance(heal.get("toward"), str) else None
    for key, need in (("starts_from", start), ("heal.toward", toward)):
        if need is not None and not (isinstance(need, Mapping) and need.keys() == {"arm", "step"}):
            raise RecipeError(where, [Fault(key, "takes arm and step", f"{{{key}: {{arm: sft, step: 40}}}}")])
    return Draft(name, {axis: point for axis, point, _ in points if axis}, seed, values, start, toward, where)


def made_of(drafts: Sequence[Draft], *, spread: Spread, runs: Path, allow_code: bool) -> tuple[Arm, ...]:
    """Return the arms of drafts, in their order; those that others start from are made first."""
    made: dict[tuple[str, int], Arm] = {}
    found: dict[int, Arm] = {}
    while len(found) < len(drafts):
        before = len(found)
        for place, draft in enumerate(drafts):
            if place in found or any((str(need["arm"]), draft.seed) not in made for need in draft.needs):
                continue
            found[place] = _arm(draft, made, spread=spread, runs=runs, allow_code=allow_code)
            made.setdefault((draft.name, draft.seed), found[place])
        if len(found) == before:
            draft = next(draft for place, draft in enumerate(drafts) if place not in found)
            lost = next(str(need["arm"]) for need in draft.needs if (str(need["arm"]), draft.seed) not in made)
            where = "starts_from" if draft.start is not None and str(draft.start["arm"]) == lost else "heal.toward"
            names = list(dict.fromkeys(other.name for other in drafts))
            raise RecipeError(draft.where, [Fault(where, f"no arm before it: {lost!r}", suggest(lost, names))])
    return tuple(found[place] for place in range(len(drafts)))


def _arm(draft: Draft, made: Mapping[tuple[str, int], Arm], *, spread: Spread, runs: Path, allow_code: bool) -> Arm:
    start = _start(draft, "starts_from", draft.start, made)
    toward = _start(draft, "heal.toward", draft.toward, made)
    values = dict(draft.values)
    # Models of the same structure, which are there before anything is trained.
    if start is not None:
        values["model_name_or_path"] = start.base
    if toward is not None:
        values["heal"] = {**values["heal"], "toward": toward.base}
    recipe = check(values, source=draft.where, allow_code=allow_code)
    # What a run will leave is known by its address, before it has run.
    stand_ins = {
        key: f"{need.address}, step {need.step}" for key, need in (("base", start), ("toward", toward)) if need
    }
    if start is not None:
        recipe = recipe.model_copy(update={"model_name_or_path": str(start.folder(runs))})
    if toward is not None:
        heal = {**(recipe.heal or {}), "toward": str(toward.folder(runs))}
        recipe = recipe.model_copy(update={"heal": heal})
    return Arm(draft.name, draft.labels, draft.seed, recipe, address(recipe, spread, **stand_ins), start, toward)


def _start(
    draft: Draft, where: str, need: Mapping[str, Any] | None, made: Mapping[tuple[str, int], Arm]
) -> Start | None:
    if need is None:
        return None
    first = made[str(need["arm"]), draft.seed]
    _refuse_missing(first, need["step"], where=draft.where, key=where)
    return Start(first.name, first.address, need["step"], first.base)


def _refuse_missing(first: Arm, step: Any, *, where: str, key: str) -> None:
    """Raise unless the arm will have kept a checkpoint of this step."""
    every, last = first.recipe.save_steps, first.recipe.budget.steps
    reached = isinstance(step, int) and 0 < step <= (step if last is None else last)
    keeps = reached and first.recipe.save_total_limit is None
    if keeps and ((every and step % every == 0) or step == last):
        return
    fault = f"arm {first.name!r} keeps no checkpoint at step {step}"
    raise RecipeError(where, [Fault(f"{key}.step", fault, "Set its save_steps, and no save_total_limit.")])


def changed(values: Mapping[str, Any], changes: Point, *, source: str) -> dict[str, Any]:
    """Return ``values`` with changes applied; a dotted key reaches into a block, a plain one replaces it.

    A ``*`` in a dotted key stands for every entry of its block: ``suites.*.size``.
    """
    result = override(values, (), source=source)
    for key, value in changes.items():
        *path, last = key.split(".")
        for block in _blocks(result, path, key=key, source=source):
            block[last] = value
    return result


def _blocks(block: dict[str, Any], path: Sequence[str], *, key: str, source: str) -> list[dict[str, Any]]:
    """Return the blocks that ``path`` leads to."""
    if not path:
        return [block]
    first, *rest = path
    inner = list(block.values()) if first == "*" else [block.setdefault(first, {})]
    for entry in inner:
        if not isinstance(entry, dict):
            raise RecipeError(source, [Fault(key, f"{first} is a value, not a block")])
    return [found for entry in inner for found in _blocks(entry, rest, key=key, source=source)]
