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
    """

    name: str
    labels: Mapping[str, str]
    seed: int
    recipe: Recipe
    address: str
    start: Start | None = None

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
    """An arm that is not checked yet; ``start`` is its point's ``starts_from``."""

    name: str
    labels: Mapping[str, str]
    seed: int
    values: Mapping[str, Any]
    start: Mapping[str, Any] | None
    where: str


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
    if start is not None and not (isinstance(start, Mapping) and start.keys() == {"arm", "step"}):
        raise RecipeError(where, [Fault("starts_from", "takes arm and step", "{starts_from: {arm: sft, step: 40}}")])
    return Draft(name, {axis: point for axis, point, _ in points if axis}, seed, values, start, where)


def made_of(drafts: Sequence[Draft], *, spread: Spread, runs: Path, allow_code: bool) -> tuple[Arm, ...]:
    """Return the arms of drafts, in their order; those that others start from are made first."""
    made: dict[tuple[str, int], Arm] = {}
    found: dict[int, Arm] = {}
    while len(found) < len(drafts):
        before = len(found)
        for place, draft in enumerate(drafts):
            first = None if draft.start is None else made.get((str(draft.start["arm"]), draft.seed))
            if place in found or (draft.start is not None and first is None):
                continue
            found[place] = _arm(draft, first, spread=spread, runs=runs, allow_code=allow_code)
            made.setdefault((draft.name, draft.seed), found[place])
        if len(found) == before:
            draft = next(draft for place, draft in enumerate(drafts) if place not in found)
            assert draft.start is not None
            names = list(dict.fromkeys(other.name for other in drafts))
            raise RecipeError(
                draft.where,
                [Fault("starts_from", f"no arm before it: {draft.start['arm']!r}", suggest(draft.start["arm"], names))],
            )
    return tuple(found[place] for place in range(len(drafts)))


def _arm(draft: Draft, first: Arm | None, *, spread: Spread, runs: Path, allow_code: bool) -> Arm:
    values = dict(draft.values)
    if first is not None:
        values["model_name_or_path"] = first.base  # of the same structure, and there before anything is trained
    recipe = check(values, source=draft.where, allow_code=allow_code)
    if first is None or draft.start is None:
        return Arm(draft.name, draft.labels, draft.seed, recipe, address(recipe, spread))
    step = draft.start["step"]
    _refuse_missing(first, step, where=draft.where)
    folder = first.folder(runs) / f"checkpoint-{step}"
    recipe = recipe.model_copy(update={"model_name_or_path": str(folder)})
    start = Start(first.name, first.address, step, first.base)
    # What a run will leave is known by its address, before it has run.
    own = address(recipe, spread, base=f"{first.address}, step {step}")
    return Arm(draft.name, draft.labels, draft.seed, recipe, own, start)


def _refuse_missing(first: Arm, step: Any, *, where: str) -> None:
    """Raise unless the arm will have kept a checkpoint of this step."""
    every, last = first.recipe.save_steps, first.recipe.budget.steps
    reached = isinstance(step, int) and 0 < step <= (step if last is None else last)
    keeps = reached and first.recipe.save_total_limit is None
    if keeps and ((every and step % every == 0) or step == last):
        return
    fault = f"arm {first.name!r} keeps no checkpoint at step {step}"
    raise RecipeError(where, [Fault("starts_from.step", fault, "Set its save_steps, and no save_total_limit.")])


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
