"""What a checkpoint's ``training/`` folder holds: masters, optimizer and random states, as tensors and plain JSON.

The optimizer's own ``load_state_dict`` casts what it reads; here each tensor comes back bit for bit. Of a sharded model
the main rank reads and writes one whole tensor at a time, and every rank calls each of these functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.errors import CheckpointError, NonFiniteLoss
from holdfast.models.ranks import ALONE, Ranks
from holdfast.models.safetensors_file import CODES, DTYPES, Place, TensorSpec, read_header, read_tensor, write_file
from holdfast.models.sharding import local, spread_like, whole
from holdfast.train.export import streamed

SCALARS = (bool, int, float, str, type(None))


class Saved(NamedTuple):
    """An optimizer as tensors and JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Kind(NamedTuple):
    """What a tensor is, but for its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


class Stored:
    """The tensors of one file. The main rank reads it; the others hear what it holds.

    Args:
        path: A safetensors file.
        ranks: Of the job.
    """

    def __init__(self, path: Path, *, ranks: Ranks = ALONE) -> None:
        self._path = path
        self._ranks = ranks
        facts = ranks.on_main(lambda: {name: _words(place) for name, place in read_header(path).items()})
        self.kinds = {name: Kind(DTYPES[code], tuple(shape)) for name, (code, shape) in facts.items()}

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and tensor, one in memory at a time; on other ranks than the main one its values are not set."""
        places = read_header(self._path) if self._ranks.is_main else {}
        for name, kind in self.kinds.items():
            yield name, read_tensor(name, places[name]) if places else torch.empty(kind.shape, dtype=kind.dtype)


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


def masters_of(model: nn.Module, trainable: frozenset[str], *, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """Return the trainable weights, and the buffers that a forward pass may move, by name.

    Raises:
        NonFiniteLoss: a weight is NaN or infinite; such a state is never saved.
    """
    masters = _moving(model, trainable)
    mine = [name for name in sorted(trainable) if not bool(torch.isfinite(local(masters[name])).all())]
    broken = sorted({name for names in ranks.gathered(mine) for name in names})
    if broken:
        raise NonFiniteLoss(f"{len(broken)} weights hold NaN or infinity (first: {broken[0]}); nothing was saved")
    return masters


def put_masters(model: nn.Module, trainable: frozenset[str], stored: Stored) -> None:
    """Copy saved masters into the model; parameter objects stay the same ones.

    Raises:
        CheckpointError: names, shapes or dtypes differ; the first ten differences are listed and nothing is copied.
    """
    here, there = _moving(model, trainable), stored.kinds
    faults = [f"{name}: only in the checkpoint" for name in sorted(there.keys() - here.keys())]
    faults += [f"{name}: missing in the checkpoint" for name in sorted(here.keys() - there.keys())]
    for name in sorted(here.keys() & there.keys()):
        mine = Kind(here[name].dtype, tuple(here[name].shape))
        if mine != there[name]:
            faults.append(f"{name}: {there[name]} in the checkpoint, {mine} in the model")
    if faults:
        raise CheckpointError(f"the checkpoint does not fit the model ({len(faults)}): " + "; ".join(faults[:10]))
    with torch.no_grad():
        for name, tensor in stored.each():
            here[name].copy_(spread_like(tensor.to(here[name].device), here[name]))


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


def into_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, *, stored: Stored, facts: Mapping[str, Any]
) -> None:
    """Inverse of `of_optimizer`, for an optimizer made with the same groups.

    Args:
        optimizer, model: To be filled, and whose parameters it holds.
        stored: The tensors.
        facts: As `of_optimizer` gave them.

    Raises:
        CheckpointError: the groups hold other parameters.
    """
    names = _names(optimizer, model)
    parameters = {names[id(p)]: p for group in optimizer.param_groups for p in group["params"]}
    there = [group["params"] for group in facts["groups"]]
    here = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    if there != here:
        raise CheckpointError(
            f"the optimizer's groups hold other parameters: {[len(g) for g in here]} here, "
            f"{[len(g) for g in there]} in the checkpoint (or in another order)"
        )
    on_cpu = set(facts["on_cpu"])
    optimizer.state.clear()
    for name, scalars in facts["scalars"].items():
        optimizer.state[parameters[name]] = dict(scalars)
    for key, tensor in stored.each():
        owner, _, field = key.rpartition("/")
        if owner.startswith("group:"):
            group = optimizer.param_groups[int(owner.removeprefix("group:"))]
            parameter, place = group["params"][0], group
        else:
            parameter = parameters[owner]
            place = optimizer.state[parameter]
        spread = spread_like(tensor.to(parameter.device), parameter)
        place[field] = spread.cpu() if key in on_cpu else spread
    for group, saved in zip(optimizer.param_groups, facts["groups"], strict=True):
        for key, value in saved["options"].items():
            # JSON has no tuples; AdamW's betas are one.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value


def write_tensors(path: Path | None, tensors: Mapping[str, Tensor], *, ranks: Ranks = ALONE) -> None:
    """Write one safetensors file; one tensor at a time is whole, and passes through host memory.

    Args:
        path: None on all ranks but the main one.
        tensors: The same names on every rank.
        ranks: Of the job.
    """
    specs = [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]

    def write(stream: Iterator[tuple[str, Tensor]]) -> None:
        assert path is not None
        write_file(path, specs, tensors=stream)

    streamed(write, ((name, whole(tensor)) for name, tensor in tensors.items()), ranks=ranks)


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


def _words(place: Place) -> tuple[str, tuple[int, ...]]:
    return CODES[place.dtype], place.shape
