"""Weights spread over ranks (FSDP2): a rank holds a slice of every tensor, a block is whole only while it computes.

What learns and what is frozen share a unit although their dtypes differ: torch asks for one dtype among the *trained*
weights of a unit only, and those are all float32 masters. The casts of `holdfast.models.compute.compute` are made by
FSDP, while it gathers: half precision travels, and gradients are summed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from holdfast.errors import ModelError
from holdfast.models import structure
from holdfast.models.ranks import Ranks


def shard(model: nn.Module, *, device: torch.device, compute_dtype: torch.dtype, apart: frozenset[str]) -> None:
    """Spread a model over all ranks, in place; its parameters become sharded tensors of the same names.

    Args:
        model: Whole, on the CPU, the same on every rank; ``requires_grad`` and masters are set.
        device: This rank's.
        compute_dtype: In which blocks compute, whatever the dtypes of their weights.
        apart: Names of weights that compute in the dtype they have all the same; they stay whole on every rank.

    Raises:
        ModelError: the weights that learn have several dtypes, or one of them is ``apart``.
    """
    named = dict(model.named_parameters())
    dtypes = {parameter.dtype for parameter in named.values() if parameter.requires_grad}
    if len(dtypes) > 1:
        raise ModelError(
            f"sharding needs one dtype among the weights that learn, found {', '.join(sorted(map(str, dtypes)))}: "
            "keep float32 masters (master_dtype: float32)"
        )
    learning = sorted(name for name in apart if named[name].requires_grad)
    if learning:
        raise ModelError(
            f"{learning[0]} learns and must be computed in {named[learning[0]].dtype}, which sharding cannot do beside "
            f"{compute_dtype}: set compute_dtype: float32, freeze it, or run without sharding"
        )
    for name in apart:
        named[name].data = named[name].data.to(device)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (Ranks.here().count,)),
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=compute_dtype,
            reduce_dtype=torch.promote_types(compute_dtype, torch.float32),
            cast_forward_inputs=False,  # `compute` casts weights only
        ),
        "ignored_params": {named[name] for name in apart},
    }
    tree = structure.read(model)
    for stack in (tree.decoder, *tree.stacks):
        for block in tree.modules[stack.path].children():
            fully_shard(block, reshard_after_forward=True, **options)
    fully_shard(model, reshard_after_forward=False, **options)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` spread this model."""
    return isinstance(model, FSDPModule)


@contextmanager
def as_own_class(model: nn.Module) -> Iterator[None]:
    """Inside, a sharded model is of the class that it had before, for those who ask for the name; do not call it."""
    made = type(model)
    if is_sharded(model):
        plain = next(kind for kind in made.__mro__ if issubclass(kind, nn.Module) and not issubclass(kind, FSDPModule))
        model.__class__ = plain
    try:
        yield
    finally:
        model.__class__ = made


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in full, without graph. Of a sharded one every rank must ask, and each gets a copy of its own."""
    found = tensor.detach()
    return found.full_tensor() if isinstance(found, DTensor) else found


def local(tensor: Tensor) -> Tensor:
    """Return this rank's slice of a tensor, without graph; of a whole one all of it."""
    found = tensor.detach()
    return found.to_local() if isinstance(found, DTensor) else found


def spread_like(full: Tensor, parameter: Tensor) -> Tensor:
    """Return the main rank's ``full`` on all ranks, sharded as ``parameter`` is if it has its shape.

    Args:
        full: On the parameter's device; of the main rank the values count, of the others dtype and shape.
        parameter: The tensor that it is, or a parameter that it belongs to (as a moment of Adam does).
    """
    if isinstance(parameter, DTensor) and parameter.shape == full.shape:
        return distribute_tensor(full, parameter.device_mesh, parameter.placements)
    if Ranks.here().count > 1:
        torch.distributed.broadcast(full, src=0)
    return full


@contextmanager
def gathered(model: nn.Module, round_to: dict[str, torch.dtype]) -> Iterator[None]:
    """Inside, a sharded model is whole on every rank, so that each may call it as often as it likes.

    It takes the memory of all weights in the compute dtype on every device. For training goes on: slices, and where
    they were rounded their exact values, are put back afterwards.

    Args:
        model: From `shard`, with no backward pass under way.
        round_to: By name, the dtype to which a weight is rounded meanwhile.
    """
    named = dict(model.named_parameters())
    exact = {name: local(named[name]).clone() for name in round_to}
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    root = units[0]
    try:
        for name, dtype in round_to.items():
            slice_ = local(named[name])
            slice_.copy_(slice_.to(dtype))
        root.set_reshard_after_forward(False)
        for unit in units:
            unit.unshard()
        yield
    finally:
        for unit in units:
            unit.reshard()
        root.set_reshard_after_forward(True)
        root.set_reshard_after_forward(False, recurse=False)
        for name, before in exact.items():
            local(named[name]).copy_(before)
