"""The contract of a selection: which parameters learn, as a pure predicate over role, layer and name.

A selection is data. ``parse`` reads it from a recipe without torch and without a model; ``select`` (``selected.py``)
holds it against the parameters of a model; ``apply`` (``apply.py``) sets ``requires_grad``. A preset is one line of
``PRESETS``: a name and the roles that it trains. Everything that a selection does not name stays frozen.

A complete selection::

    selection = parse({"preset": "attention", "layers": "first:8", "exclude": ["o_proj"]})

Laws (``tests/laws/test_selection.py``, every preset on every architecture): what is selected and what is frozen make up
the model, each tensor once; a tensor has the roles of its preset; selecting twice selects the same; what matches
nothing is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.errors import SelectionError, UnknownName
from holdfast.models.roles import Role
from holdfast.selection.globs import compiled

PRESETS: Mapping[str, tuple[Role, ...]] = {
    "full": tuple(Role),
    "attention": (Role.ATTENTION,),
    "mlp": (Role.MLP,),
}
ALIASES: Mapping[str, str] = {"ffn": "mlp"}
KEYS = ("preset", "roles", "layers", "include", "exclude", "match")
MATCH_KEYS = ("parameters_of", "from")

Start = Literal["first", "last", "spread"]
STARTS: tuple[Start, ...] = ("first", "last", "spread")

_COUNTED = re.compile(r"(\w+)\s*:\s*(\d+)")
_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


@dataclass(frozen=True)
class Layers:
    """Which blocks: a count from one end or spread over the depth, or indices.

    Attributes:
        start: ``first``, ``last`` or ``spread`` with ``count``; None with ``indices``.
        count: Number of blocks.
        indices: Block indices, from 0 on.
        each: Whether every one of ``indices`` must select something (a list) or may be empty (a range).
    """

    start: Start | None = None
    count: int = 0
    indices: tuple[int, ...] = ()
    each: bool = False

    def choose(self, blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the chosen ones of ``blocks`` (ascending indices of the blocks that may be chosen).

        Raises:
            SelectionError: more blocks than there are, or an index that is not among them.
        """
        if self.start is not None:
            if self.count > len(blocks):
                raise SelectionError(f"layers: {self}: the model has {len(blocks)} blocks that can be counted")
            return take(blocks, self.count, start=self.start)
        missing = [index for index in self.indices if index not in blocks]
        if missing:
            raise SelectionError(f"layers: {self}: no block {missing[0]} to train. The blocks are {spans(blocks)}.")
        return self.indices

    def __str__(self) -> str:
        return f"{self.start}:{self.count}" if self.start else spans(self.indices)


@dataclass(frozen=True)
class Match:
    """The paper's eq. 3: as many blocks as come nearest to the parameters of ``parameters_of``.

    Attributes:
        parameters_of: The roles whose parameters, over all blocks, are the target.
        start: Which blocks are taken: the ``first`` (the paper's), the ``last``, or ``spread`` evenly.
    """

    parameters_of: tuple[Role, ...]
    start: Start = "first"


@dataclass(frozen=True)
class Selection:
    """What learns: (a role of ``preset`` or ``roles``, in ``layers``), or named by ``include``; but not ``exclude``.

    Attributes:
        preset: A key of ``PRESETS``, or None.
        roles: Further roles; each must occur in the model.
        layers: Restricts everything that stands in a block. With it, or with ``match``, preset ``full`` means whole
            decoder blocks: embeddings, head, final norm, vision and projector stay frozen. A role in ``roles`` that
            has no blocks is then refused; name it under ``include``.
        include: Globs of names that learn too. Each must match.
        exclude: Globs of names that stay frozen. Each must take something away.
        match: Chooses the layers by a parameter count; excludes ``layers``, ``include`` and ``exclude``.
    """

    preset: str | None = None
    roles: tuple[Role, ...] = ()
    layers: Layers | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    match: Match | None = None

    @property
    def wanted(self) -> frozenset[Role]:
        """The roles of preset and ``roles`` together."""
        return frozenset(PRESETS[self.preset] if self.preset else ()) | frozenset(self.roles)

    @property
    def whole_blocks(self) -> bool:
        """Whether preset ``full`` is narrowed to decoder blocks."""
        return self.preset == "full" and (self.layers is not None or self.match is not None)

    def to_json(self) -> dict[str, Any]:
        """Return a mapping that `parse` reads back to an equal selection."""
        row: dict[str, Any] = {}
        if self.preset:
            row["preset"] = self.preset
        for key in ("roles", "include", "exclude"):
            if getattr(self, key):
                row[key] = [str(entry) for entry in getattr(self, key)]
        if self.layers:
            row["layers"] = list(self.layers.indices) if self.layers.each else str(self.layers)
        if self.match:
            row["match"] = {"parameters_of": [str(r) for r in self.match.parameters_of], "from": self.match.start}
        return row


def parse(spec: str | Mapping[str, Any]) -> Selection:
    """Read a recipe's ``trainable``: the name of a preset or role, or a mapping with the keys of ``KEYS``.

    Raises:
        UnknownName: an unknown preset, role or key.
        SelectionError: a value of the wrong form, or keys that contradict each other.

    Example:
        >>> parse("ffn").preset
        'mlp'
        >>> parse({"preset": "full", "match": {"parameters_of": "attention"}}).match.start
        'first'
    """
    if isinstance(spec, str):
        name = ALIASES.get(spec, spec)
        if name in PRESETS:
            return Selection(preset=name)
        return Selection(roles=(_role(name, kind="selection"),))
    if not isinstance(spec, Mapping):
        raise SelectionError(f"a selection is a name or a mapping, got {spec!r}")
    for key in spec:
        if key not in KEYS:
            raise UnknownName("key of a selection", str(key), KEYS)
    preset = spec.get("preset")
    if preset is not None:
        preset = ALIASES.get(str(preset), str(preset))
        if preset not in PRESETS:
            raise UnknownName("preset", preset, [*PRESETS, *ALIASES])
    selection = Selection(
        preset=preset,
        roles=tuple(_role(name, kind="role") for name in _words(spec, "roles")),
        layers=parse_layers(spec["layers"]) if spec.get("layers") is not None else None,
        include=_globs(spec, "include"),
        exclude=_globs(spec, "exclude"),
        match=_parse_match(spec["match"]) if spec.get("match") is not None else None,
    )
    _check(selection)
    return selection


def parse_layers(value: object) -> Layers:
    """Read ``"first:8"``, ``"last:4"``, ``"spread:4"``, ``"2-5"`` (both ends belong to it), ``3`` or ``[0, 3]``.

    Raises:
        SelectionError: anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Layers(indices=(value,), each=True)
    if isinstance(value, Sequence) and not isinstance(value, str):
        indices = [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool) and entry >= 0]
        if indices and len(indices) == len(value):
            return Layers(indices=tuple(sorted(set(indices))), each=True)
    if isinstance(value, str):
        counted, span = _COUNTED.fullmatch(value.strip()), _RANGE.fullmatch(value.strip())
        if counted and int(counted[2]) > 0:
            for start in STARTS:
                if counted[1] == start:
                    return Layers(start=start, count=int(counted[2]))
        if span and int(span[1]) <= int(span[2] or span[1]):
            return Layers(indices=tuple(range(int(span[1]), int(span[2] or span[1]) + 1)))
    raise SelectionError(
        f"layers: {value!r} is not understood. Write first:8, last:4, spread:4, 2-5 (both included) or [0, 3]."
    )


def take(blocks: Sequence[int], count: int, *, start: Start) -> tuple[int, ...]:
    """Return ``count`` of ``blocks``: the first, the last, or the centers of ``count`` equal parts.

    Example:
        >>> take(range(32), 4, start="spread")
        (4, 12, 20, 28)
    """
    if start == "first":
        return tuple(blocks[:count])
    if start == "last":
        return tuple(blocks[len(blocks) - count :])
    return tuple(blocks[(2 * k + 1) * len(blocks) // (2 * count)] for k in range(count))


def spans(indices: Iterable[int]) -> str:
    """Return indices in short form.

    Example:
        >>> spans([0, 1, 2, 5, 7, 8])
        '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _check(selection: Selection) -> None:
    if not (selection.wanted or selection.include):
        raise SelectionError(
            "the selection says nothing to train: give it preset, roles or include (preset: full is all)"
        )
    if selection.match is None:
        return
    if selection.layers is not None:
        raise SelectionError("match and layers both choose the blocks: keep one of them")
    if selection.include or selection.exclude:
        raise SelectionError("match counts whole roles: it cannot be combined with include or exclude")
    if not selection.wanted:
        raise SelectionError("match needs a preset or roles whose depth it chooses, for example preset: mlp")


def _parse_match(value: object) -> Match:
    if not isinstance(value, Mapping):
        raise SelectionError(f"match: {value!r} is not understood. Write match: {{parameters_of: attention}}.")
    for key in value:
        if key not in MATCH_KEYS:
            raise UnknownName("key of match", str(key), MATCH_KEYS)
    roles: list[Role] = []
    for name in _words(value, "parameters_of"):
        preset = ALIASES.get(name, name)
        if preset == "full":
            raise SelectionError("match: parameters_of: full is the whole model; there is nothing to match")
        roles += PRESETS[preset] if preset in PRESETS else [_role(name, kind="role")]
    if not roles:
        raise SelectionError("match: parameters_of is missing, for example parameters_of: attention")
    wanted = value.get("from", "first")
    for start in STARTS:
        if wanted == start:
            return Match(tuple(dict.fromkeys(roles)), start)
    raise UnknownName("start of match (from)", str(wanted), STARTS)


def _role(name: str, *, kind: str) -> Role:
    if name not in set(Role):
        known = [*PRESETS, *ALIASES, *Role] if kind == "selection" else list(Role)
        raise UnknownName(kind, name, dict.fromkeys(map(str, known)))
    return Role(name)


def _words(spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = spec.get(key)
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words) or not words:
        raise SelectionError(f"{key}: {value!r} is not a list of words")
    return tuple(dict.fromkeys(words))


def _globs(spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    globs = _words(spec, key)
    for glob in globs:
        compiled(glob)
    return globs
