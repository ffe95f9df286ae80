"""How the tensors of a live model are called and shaped in its files, and which parameter a tensor of a file is.

Transformers may hold weights in another form than it writes: the experts of a mixture are one stacked tensor in memory
and one tensor an expert in the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from holdfast.models.roles import ParameterRole
from holdfast.models.sharding import as_own_class
from holdfast.models.structure import roles

Tensors = dict[str, Tensor]


def in_files(model: Any, tensors: Mapping[str, Tensor]) -> Tensors:
    """Return tensors under the names and in the form in which Transformers writes them; on ``meta``, shapes alone."""
    with as_own_class(model):  # the form goes by the name of the class
        found: Tensors = revert_weight_conversion(model, dict(tensors))
    return found


def attempt_in_files(model: Any, tensors: Mapping[str, Tensor]) -> Tensors | None:
    """Return what `in_files` does; None where these tensors have a form in the files only together with others."""
    try:
        return in_files(model, tensors)
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError):
        return None


def roles_in_files(model: Any) -> dict[str, ParameterRole]:
    """Return which parameter each tensor of a model's files is, or is a part of; every name of a tied one.

    Args:
        model: Plain, on any device, ``meta`` included.

    Raises:
        UnknownRole: a module's role cannot be told.
    """
    found: dict[str, ParameterRole] = {}
    for parameter in roles(model):
        empty = torch.empty(parameter.shape, device="meta")
        for name in (parameter.name, *parameter.tied):
            made = attempt_in_files(model, {name: empty})
            for inside in made or {name: empty}:
                found[inside] = parameter
    return found


def by_leaf(names: Iterable[str]) -> dict[str, list[str]]:
    """Return names by the last of their segments, for `nearest`."""
    endings: dict[str, list[str]] = {}
    for name in names:
        endings.setdefault(name.rpartition(".")[2], []).append(name)
    return endings


def nearest(name: str, candidates: Collection[str]) -> str | None:
    """Return the candidate that shares the most segments with ``name``, counted from the end; None without any.

    Files of older models begin their names otherwise (``language_model.model.layers`` for
    ``model.language_model.layers``). Whether it is the right one, its shape and values tell.
    """
    if name in candidates:
        return name
    parts = name.split(".")[::-1]

    def shared(candidate: str) -> int:
        pairs = zip(parts, candidate.split(".")[::-1], strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(candidates, key=shared, default=None)
