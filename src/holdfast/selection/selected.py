"""Hold a selection against the parameters of a model: what learns, how much of it, and what to know about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holdfast.errors import SelectionError
from holdfast.models.roles import TOWERS, ParameterRole, Role
from holdfast.selection.base import Selection, spans, take
from holdfast.selection.globs import matches
from holdfast.selection.match import Matched, matched_depth
from holdfast.selection.notes import BESIDE_TEXT, cross_attention_notes, idle_notes, tied_notes

TOKEN_MIXING = frozenset({Role.ATTENTION, Role.MIXER})


class Cell(NamedTuple):
    """One role in one block: how much of it learns. ``layer`` is None outside of blocks."""

    role: Role
    layer: int | None
    tensors: int
    n_parameters: int
    of_tensors: int
    of_parameters: int


class Row(NamedTuple):
    """One role over all blocks, for a table. ``layers`` are the blocks in which it learns, in short form."""

    role: str
    layers: str
    tensors: int
    n_parameters: int
    of_tensors: int
    of_parameters: int


@dataclass(frozen=True)
class Selected:
    """What learns in one model.

    Attributes:
        selection: What was asked for.
        names: The tensors that learn, in model order, under the first of their names.
        tied: Further names of these tensors.
        n_parameters: Scalars that learn; a tied tensor counts once.
        n_total: Scalars of the model; a tied tensor counts once.
        table: One cell for each role and block of the model.
        matched: The outcome of eq. 3 if the selection has ``match``.
        notes: What a user should know, in sentences: tied weights, blocks that do not run.
    """

    selection: Selection
    names: tuple[str, ...]
    tied: tuple[str, ...]
    n_parameters: int
    n_total: int
    table: tuple[Cell, ...]
    matched: Matched | None = None
    notes: tuple[str, ...] = ()

    def rows(self) -> tuple[Row, ...]:
        """Return the table summed over blocks: one row for each role of the model, in the order of `Role`."""
        rows = []
        for role in Role:
            cells = [cell for cell in self.table if cell.role is role]
            if cells:
                learning = [cell.layer for cell in cells if cell.tensors and cell.layer is not None]
                sums = [sum(column) for column in zip(*(cell[2:] for cell in cells), strict=True)]
                rows.append(Row(role.value, spans(learning), *sums))
        return tuple(rows)


def select(parameter_roles: Sequence[ParameterRole], selection: Selection, *, text_only: bool = False) -> Selected:
    """Return what of a model learns.

    A tied tensor has all of its names and roles: naming one of them selects the tensor, once.

    Args:
        parameter_roles: Of the whole model, as `holdfast.models.structure.roles` returns them.
        selection: From `holdfast.selection.parse`.
        text_only: The training data has no images. Then towers, projectors and blocks that only attend to images
            (cross-attention without self-attention) do not run: they get no gradient, are not selected, and do not
            count in ``first``, ``last``, ``spread`` or eq. 3.

    Raises:
        SelectionError: nothing is selected; or a role, a glob or a block matches nothing.
    """
    idle = _idle_blocks(parameter_roles) if text_only else frozenset()
    running = [p for p in parameter_roles if not (text_only and _is_idle(p, idle))]
    _check_roles(selection, parameter_roles, running)
    matched = _solve(selection, running) if selection.match else None
    limits = _limits(selection, running, matched)
    wanted = [p for p in running if _by_role(p, selection, limits) or _by_name(p, selection.include, limits)]
    _check_wanted(selection, running, wanted, limits)
    taken = [p for p in wanted if not any(_named(p, glob) for glob in selection.exclude)]
    if not taken:
        raise SelectionError(f"nothing is left to train: exclude {list(selection.exclude)} takes all that was selected")
    asleep = [p for p in parameter_roles if text_only and _is_idle(p, idle) and p.role in selection.wanted]
    if selection.whole_blocks:
        asleep = [p for p in asleep if p.role not in BESIDE_TEXT]
    return Selected(
        selection=selection,
        names=tuple(p.name for p in taken),
        tied=tuple(name for p in taken for name in p.tied),
        n_parameters=sum(p.n_parameters for p in taken),
        n_total=sum(p.n_parameters for p in parameter_roles),
        table=table_of(parameter_roles, taken),
        matched=matched,
        notes=(
            *tied_notes(selection, wanted, taken),
            *idle_notes(asleep),
            *cross_attention_notes(selection, running, taken),
        ),
    )


class _Limits(NamedTuple):
    """Blocks that ``layers`` or ``match`` allows, of the decoder and of each tower; None is no limit."""

    decoder: frozenset[int] | None
    towers: Mapping[Role, frozenset[int]]

    def of(self, parameter: ParameterRole) -> frozenset[int] | None:
        return self.towers.get(parameter.role) if parameter.role in TOWERS else self.decoder


def _limits(selection: Selection, running: Sequence[ParameterRole], matched: Matched | None) -> _Limits:
    if matched is not None:
        return _Limits(frozenset(matched.layers), {})
    if selection.layers is None:
        return _Limits(None, {})
    layers = selection.layers
    decoder = None
    if selection.include or selection.wanted - TOWERS:
        decoder = frozenset(layers.choose(_blocks(running)))
    asked = [role for role in selection.roles if role in TOWERS]
    return _Limits(decoder, {role: frozenset(layers.choose(_blocks(running, tower=role))) for role in asked})


def _by_role(parameter: ParameterRole, selection: Selection, limits: _Limits) -> bool:
    if not selection.wanted & {parameter.role, *parameter.tied_roles}:
        return False
    if selection.whole_blocks and parameter.role in TOWERS and parameter.role not in selection.roles:
        return False
    limit = limits.of(parameter)
    return limit is None or parameter.layer in limit


def _by_name(parameter: ParameterRole, globs: Iterable[str], limits: _Limits) -> bool:
    limit = limits.of(parameter)
    inside = limit is None or parameter.layer is None or parameter.layer in limit
    return inside and any(_named(parameter, glob) for glob in globs)


def _named(parameter: ParameterRole, glob: str) -> bool:
    return any(matches(glob, name) for name in (parameter.name, *parameter.tied))


def _blocks(parameters: Iterable[ParameterRole], *, tower: Role | None = None) -> tuple[int, ...]:
    """Return the indices of the blocks of the decoder, or of a tower."""
    within = {tower} if tower else frozenset(Role) - TOWERS
    return tuple(sorted({p.layer for p in parameters if p.layer is not None and p.role in within}))


def _idle_blocks(parameters: Iterable[ParameterRole]) -> frozenset[int]:
    """Return the decoder blocks that only attend to images: cross-attention, and nothing else that mixes tokens."""
    crossing: set[int] = set()
    mixing: set[int] = set()
    for parameter in parameters:
        if parameter.layer is not None and parameter.role is Role.CROSS_ATTENTION:
            crossing.add(parameter.layer)
        if parameter.layer is not None and parameter.role in TOKEN_MIXING:
            mixing.add(parameter.layer)
    return frozenset(crossing - mixing)


def _is_idle(parameter: ParameterRole, idle: frozenset[int]) -> bool:
    return parameter.role in BESIDE_TEXT or parameter.layer in idle


def _solve(selection: Selection, running: Sequence[ParameterRole]) -> Matched:
    """Solve eq. 3 for a selection with ``match``."""
    assert selection.match is not None
    target = sum(p.n_parameters for p in running if p.role in selection.match.parameters_of)
    if not target:
        asked = ", ".join(selection.match.parameters_of)
        raise SelectionError(f"match: the model has no parameters of {asked}. {_roles_in(running)}")
    counts = dict.fromkeys(_blocks(running), 0)
    for parameter in running:
        if parameter.role in selection.wanted - TOWERS and parameter.layer is not None:
            counts[parameter.layer] += parameter.n_parameters
    start = selection.match.start
    depth = matched_depth(counts, target, start=start)
    layers = take(sorted(counts), depth, start=start)
    n_parameters = sum(counts[layer] for layer in layers)
    mismatch = (n_parameters - target) / target
    return Matched(selection.match.parameters_of, target, start, depth, layers, n_parameters, mismatch)


def _check_roles(selection: Selection, everything: Sequence[ParameterRole], running: Sequence[ParameterRole]) -> None:
    """Refuse roles that the model, or its running part, does not have."""
    present = {role for p in running for role in (p.role, *p.tied_roles)}
    asked = list(selection.roles)
    if selection.preset and not present & selection.wanted:
        asked += [role for role in Role if role in selection.wanted]
    for role in asked:
        if role in present:
            continue
        if any(p.role is role for p in everything):
            raise SelectionError(f"role {role.value!r} does not run on text alone, so it cannot be trained on text")
        raise SelectionError(f"the model has no parameters with role {role.value!r}. {_roles_in(running)}")


def _check_wanted(
    selection: Selection, running: Sequence[ParameterRole], wanted: Sequence[ParameterRole], limits: _Limits
) -> None:
    """Refuse a role, block or glob that selects nothing."""
    where = f" in layers {selection.layers}" if selection.layers else ""
    for role in selection.roles:
        if not any(role in (p.role, *p.tied_roles) and _by_role(p, selection, limits) for p in running):
            raise SelectionError(
                f"role {role.value!r} selects nothing{where}. Its blocks are {_blocks_of(running, role)}; "
                "what stands outside of the blocks is named under include."
            )
    for glob in selection.include:
        if not any(_by_name(p, (glob,), limits) for p in running):
            raise SelectionError(f"include: {glob!r} matches no parameter{where}. {_nearest(glob, running)}")
    for glob in selection.exclude:
        if not any(_named(p, glob) for p in wanted):
            raise SelectionError(f"exclude: {glob!r} takes nothing away from the selection. {_nearest(glob, wanted)}")
    if not wanted:
        of = ", ".join(role.value for role in Role if role in selection.wanted)
        raise SelectionError(f"nothing is selected{where}: no {of} there. {_roles_in(running)}")
    if selection.layers and selection.layers.each:
        for index in selection.layers.indices:
            if not any(p.layer == index for p in wanted):
                raise SelectionError(f"layers: block {index} selects nothing; leave it out. {_roles_in(running)}")


def _roles_in(parameters: Iterable[ParameterRole]) -> str:
    held = {p.role for p in parameters}
    return f"It has: {', '.join(role.value for role in Role if role in held)}."


def _blocks_of(parameters: Iterable[ParameterRole], role: Role) -> str:
    return spans({p.layer for p in parameters if p.role is role and p.layer is not None}) or "none"


def _nearest(glob: str, parameters: Iterable[ParameterRole]) -> str:
    """Suggest the model's names that look most like ``glob``, block indices replaced by ``*``."""
    names = dict.fromkeys(re.sub(r"\.\d+(?=\.)", ".*", name) for p in parameters for name in (p.name, *p.tied))
    words = {word: name for name in names for word in (*name.split("."), name)}
    near = difflib.get_close_matches(glob, words, n=3, cutoff=0.6)
    near += difflib.get_close_matches(glob.split(".")[-1], words, n=3, cutoff=0.6)
    found = list(dict.fromkeys(words[word] for word in near))[:3] or list(names)[:3]
    return f"Names look like {', '.join(found)}; a glob matches whole segments between dots."


def table_of(everything: Sequence[ParameterRole], taken: Sequence[ParameterRole]) -> tuple[Cell, ...]:
    """Return one cell for each role and block of ``everything``; of it ``taken`` learns."""
    learning = {p.name for p in taken}
    cells: dict[tuple[Role, int | None], list[int]] = {}
    for p in everything:
        cell = cells.setdefault((p.role, p.layer), [0, 0, 0, 0])
        cell[2] += 1
        cell[3] += p.n_parameters
        if p.name in learning:
            cell[0] += 1
            cell[1] += p.n_parameters
    order = sorted(cells, key=lambda key: (list(Role).index(key[0]), -1 if key[1] is None else key[1]))
    return tuple(Cell(role, layer, *cells[role, layer]) for role, layer in order)
