"""The processes of one job, as `torchrun` or `accelerate launch` started them; usually there is just this one."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, GradientAccumulationPlugin
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from holdfast.errors import UserError
from holdfast.models.compute import export_dtype
from holdfast.models.ranks import Ranks
from holdfast.models.sharding import shard

PATIENCE = timedelta(hours=2)
"""How long ranks wait for one of them: while it writes and hashes a large checkpoint, the others do nothing."""


def processes() -> Ranks:
    """Return who we are among the job's processes; the first call joins them (gloo where there is no accelerator)."""
    # Accelerate would have Transformers load empty weights on all ranks but one; ours are hashed and compared.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
    return Ranks.here()


def accelerator(*, log_with: list[str] | None = None, project_dir: str | None = None) -> Accelerator:
    """Return Accelerate's view of this process, on the device that `processes` chose.

    How many micro-batches make a step, and in which dtype they are computed, is the recipe's affair: what `accelerate
    launch` was told about them is not read.

    Raises:
        UserError: the job was launched in a way that holdfast does not train in (FSDP 1, DeepSpeed, CPU offload, …).
    """
    made = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no",
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=log_with,
        project_dir=project_dir,
    )
    known = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)
    if made.distributed_type not in known:
        raise UserError(f"launched as {made.distributed_type}: holdfast trains alone, with DDP, or with FSDP 2")
    if sharded():
        plugin = FullyShardedDataParallelPlugin()
        if plugin.fsdp_version != 2:
            raise UserError("launched with FSDP 1: set FSDP_VERSION=2 (accelerate launch --fsdp_version 2)")
        if os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true":
            raise UserError("launched with FSDP_OFFLOAD_PARAMS=true: holdfast keeps slices on their devices, unset it")
    return made


def sharded() -> bool:
    """Whether the job was launched with FSDP: ``accelerate launch --use_fsdp``, or ACCELERATE_USE_FSDP=true."""
    return Ranks.here().count > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def spread(model: Any, accelerator: Accelerator, *, compute_dtype: torch.dtype) -> nn.Module:
    """Put a model on this process's device, and on all ranks as the job was launched: alone, DDP, or FSDP 2.

    Args:
        model: Whole, on the CPU, with masters set (`holdfast.models.compute.set_masters`).
        accelerator: From `accelerator`.
        compute_dtype: In which it is computed.

    Returns:
        What is to be called in training: the model itself, or a wrapper around it (`unwrapped`).
    """
    if not sharded():
        return accelerator.prepare_model(model)  # type: ignore[no-any-return]
    apart = frozenset(
        name
        for name, parameter in model.named_parameters()
        if export_dtype(model, name, parameter, save_dtype=compute_dtype) != compute_dtype
    )
    shard(model, device=accelerator.device, compute_dtype=compute_dtype, apart=apart)
    return model  # type: ignore[no-any-return]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model that `spread` was given."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(inner, nn.Module)
    return inner
