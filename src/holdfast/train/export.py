"""The plain model folder in a checkpoint: what a user loads, in the dtype of the export.

A model in one piece is written by Transformers itself. Of a sharded one the main rank writes a tensor at a time, under
the names and in the form that Transformers would give it: all is tried on tensors without values first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from holdfast.models.compute import export_dtype, exported
from holdfast.models.durable import write_json
from holdfast.models.file_form import Tensors, attempt_in_files, in_files
from holdfast.models.ranks import Ranks
from holdfast.models.safetensors_file import TensorSpec
from holdfast.models.sharding import is_sharded, whole
from holdfast.models.tensors import write_folder


def write_export(
    folder: Path | None,
    *,
    model: Any,
    beside: tuple[Any, ...],
    save_dtype: torch.dtype,
    exposure: Mapping[str, Any] | None,
    ranks: Ranks,
) -> None:
    """Write a model folder; every rank of a sharded model takes part.

    Args:
        folder: Exists; None on all ranks but the main one.
        model: Unwrapped.
        beside: Tokenizer, processor: what else has ``save_pretrained``.
        save_dtype: Of the weights.
        exposure: Written as ``exposure.json``.
        ranks: Of the job.
    """
    dtype_before = model.config.dtype
    try:
        if is_sharded(model):
            _write_sharded(folder, model, save_dtype=save_dtype, ranks=ranks)
        elif folder is not None:
            with exported(model, save_dtype):
                model.save_pretrained(folder)
    finally:
        model.config.dtype = dtype_before
    if folder is None:
        return
    for part in beside:
        part.save_pretrained(folder)
    if exposure is not None:
        write_json(folder / "exposure.json", dict(exposure))


def streamed(
    write: Callable[[Iterator[tuple[str, Tensor]]], object], tensors: Iterator[tuple[str, Tensor]], *, ranks: Ranks
) -> None:
    """Let the main rank ``write`` tensors whose making takes every rank. If it fails all do, and none waits in vain."""
    with ranks.together():
        try:
            if ranks.is_main:
                write(tensors)
        finally:
            for _ in tensors:  # a gather that one rank leaves out stops all others
                pass


def _write_sharded(folder: Path | None, model: Any, *, save_dtype: torch.dtype, ranks: Ranks) -> None:
    live: Tensors = dict(model.state_dict())
    empty = {
        name: torch.empty(tensor.shape, dtype=export_dtype(model, name, tensor, save_dtype=save_dtype), device="meta")
        for name, tensor in live.items()
    }
    groups = _groups(model, empty)
    specs = [
        TensorSpec(name, tensor.dtype, tuple(tensor.shape))
        for group in groups
        for name, tensor in sorted(in_files(model, {name: empty[name] for name in group}).items())
    ]

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for group in groups:
            full = {name: whole(live[name]).to(empty[name].dtype) for name in group}
            if ranks.is_main:
                yield from sorted((name, tensor.cpu()) for name, tensor in in_files(model, full).items())

    def write(stream: Iterator[tuple[str, Tensor]]) -> None:
        assert folder is not None
        model.config.dtype = save_dtype
        model.config.architectures = [type(model).__name__.removeprefix("FSDP")]
        model.config.save_pretrained(folder)
        if model.can_generate():
            model.generation_config.save_pretrained(folder)
        write_folder(folder, specs, tensors=stream)

    streamed(write, tensors(), ranks=ranks)


def _groups(model: Any, empty: Tensors) -> list[list[str]]:
    """Divide the live tensors so that each group by itself becomes what it becomes among all: mostly one by one.

    Tensors that the files hold in another form together are one group.
    """
    names = _saved_names(model, empty)
    expected = in_files(model, {name: empty[name] for name in names})
    alone, rest, claimed = [], [], list[str]()
    for name in names:
        made = attempt_in_files(model, {name: empty[name]})
        if made is not None and all(_like(expected.get(key), tensor) for key, tensor in made.items()):
            alone.append([name])
            claimed += made
        else:
            rest.append(name)
    if len(set(claimed)) < len(claimed):  # two claim one name: only together do they become what it stands for
        return [names]
    return [*alone, rest] if rest else alone


def _saved_names(model: Any, empty: Tensors) -> list[str]:
    """Return which tensors of the model are saved: each tied one once, under the name that Transformers expects."""
    live = dict(model.state_dict(keep_vars=True))
    # Transformers tells ties from storages, which tensors without values have not; one number each will do.
    storages = {id(tensor): torch.zeros(1) for tensor in live.values()}
    kept = remove_tied_weights_from_state_dict({name: storages[id(tensor)] for name, tensor in live.items()}, model)
    return [name for name in kept if name in empty and name not in (model._keys_to_ignore_on_save or ())]


def _like(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and one.dtype == other.dtype
