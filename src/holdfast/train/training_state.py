"""What a checkpoint's ``training/`` folder holds: masters, optimizer and random states, as tensors and plain JSON.

The optimizer's own ``load_state_dict`` casts what it reads; here each tensor comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.errors import CheckpointError, NonFiniteLoss
from holdfast.models.safetensors_file import TensorSpec, read_header, read_tensor, write_file

SCALARS = (bool, int, float, str, type(None))


class Saved(NamedTuple):
    """An optimizer as tensors and JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def first_names(model: nn.Module, names: Collection[str]) -> frozenset[str]:
    """Return the names under which ``model.named_parameters()`` lists these weights: one a tied weight.

    Raises:
        CheckpointError: a name is not a parameter of the model.
    """
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = dict(model.named_parameters(remove_duplicate=False))
    for name in names:
        if name not in every:
            raise CheckpointError(f"{name!r} is to be saved as a trainable weight, but the model has no such parameter")
    return frozenset(first[id(every[name])] for name in names)


def masters_of(model: nn.Module, trainable: frozenset[str]) -> dict[str, Tensor]:
    """Return the trainable weights, and the buffers that a forward pass may move, by name.

    Raises:
        NonFiniteLoss: a weight is NaN or infinite; such a state is never saved.
    """
    masters = _moving(model, trainable)
    broken = [name for name in sorted(trainable) if not bool(torch.isfinite(masters[name]).all())]
    if broken:
        raise NonFiniteLoss(f"{len(broken)} weights hold NaN or infinity (first: {broken[0]}); nothing was saved")
    return masters


def put_masters(model: nn.Module, trainable: frozenset[str], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved masters into the model; parameter objects stay the same ones.

    Raises:
        CheckpointError: names, shapes or dtypes differ; the first ten differences are listed and nothing is copied.
    """
    here = _moving(model, trainable)
    faults = [f"{name}: only in the checkpoint" for name in sorted(tensors.keys() - here.keys())]
    faults += [f"{name}: missing in the checkpoint" for name in sorted(here.keys() - tensors.keys())]
    for name in sorted(here.keys() & tensors.keys()):
        mine, saved = here[name], tensors[name]
        if mine.shape != saved.shape or mine.dtype != saved.dtype:
            faults.append(f"{name}: {_kind(saved)} in the checkpoint, {_kind(mine)} in the model")
    if faults:
        raise CheckpointError(f"the checkpoint does not fit the model ({len(faults)}): " + "; ".join(faults[:10]))
    with torch.no_grad():
        for name, tensor in tensors.items():
            here[name].copy_(tensor)


def of_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> Saved:
    """Take an optimizer apart: tensors by ``<parameter>/<key>``, everything else as JSON.

    Raises:
        CheckpointError: the optimizer holds something that only pickle could store, or a parameter not of this model.
    """
    names = _names(optimizer, model)
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        scalars[name] = {}
        for key, value in state.items():
            _store(value, f"{name}/{key}", tensors, scalars[name], key)
    groups = []
    for position, group in enumerate(optimizer.param_groups):
        options: dict[str, Any] = {}
        for key, value in group.items():
            if key != "params":
                _store(value, f"group:{position}/{key}", tensors, options, key)
        groups.append({"params": [names[id(parameter)] for parameter in group["params"]], "options": options})
    on_cpu = sorted(key for key, tensor in tensors.items() if tensor.device.type == "cpu")
    return Saved(tensors, {"groups": groups, "scalars": scalars, "on_cpu": on_cpu})


def into_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, saved: Saved) -> None:
    """Inverse of `of_optimizer`, for an optimizer made with the same groups.

    Raises:
        CheckpointError: the groups hold other parameters.
    """
    names = _names(optimizer, model)
    parameters = {names[id(p)]: p for group in optimizer.param_groups for p in group["params"]}
    there = [group["params"] for group in saved.facts["groups"]]
    here = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    if there != here:
        raise CheckpointError(
            f"the optimizer's groups hold other parameters: {[len(g) for g in here]} here, "
            f"{[len(g) for g in there]} in the checkpoint (or in another order)"
        )
    on_cpu = set(saved.facts["on_cpu"])

    def back(key: str, tensor: Tensor, parameter: Tensor) -> Tensor:
        return tensor.clone() if key in on_cpu else tensor.to(parameter.device, copy=True)

    optimizer.state.clear()
    for name, scalars in saved.facts["scalars"].items():
        optimizer.state[parameters[name]] = dict(scalars)
    for key, tensor in saved.tensors.items():
        owner, _, field = key.rpartition("/")
        if owner.startswith("group:"):
            group = optimizer.param_groups[int(owner.removeprefix("group:"))]
            group[field] = back(key, tensor, group["params"][0])
        else:
            optimizer.state[parameters[owner]][field] = back(key, tensor, parameters[owner])
    for group, facts in zip(optimizer.param_groups, saved.facts["groups"], strict=True):
        for key, value in facts["options"].items():
            # JSON has no tuples; AdamW's betas are one.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one safetensors file; a tensor on an accelerator passes through host memory alone."""
    specs = [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_file(path, specs, tensors=tensors.items())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read one safetensors file whole."""
    return {name: read_tensor(name, place) for name, place in read_header(path).items()}


def _store(value: Any, tensor_name: str, tensors: dict[str, Tensor], scalars: dict[str, Any], key: str) -> None:
    if isinstance(value, Tensor):
        tensors[tensor_name] = value
    elif isinstance(value, SCALARS) or (
        isinstance(value, (tuple, list)) and all(isinstance(item, SCALARS) for item in value)
    ):
        scalars[key] = value
    else:
        raise CheckpointError(
            f"optimizer state {tensor_name} is a {type(value).__name__}, which cannot be stored without pickle"
        )


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in names:
                raise CheckpointError(
                    f"the optimizer holds a parameter of shape {tuple(parameter.shape)} not of the model"
                )
    return names


def _moving(model: nn.Module, trainable: frozenset[str]) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    kept = model.state_dict(keep_vars=True).keys()
    buffers = {f"buffer:{name}": buffer for name, buffer in model.named_buffers() if name in kept}
    return {name: named[name].data for name in sorted(trainable)} | buffers


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
