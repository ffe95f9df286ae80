"""Run by `test_ranks.py`: compares two ranks with one process and prints the largest difference of each kind."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from objective_kit import largest_difference, naive_gradients, ragged, split
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import tiny_models
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine


def wrapped(model, kind):
    if kind == "ddp":
        return DistributedDataParallel(model)
    for layer in model.model.layers:
        fully_shard(layer)
    return fully_shard(model, reshard_after_forward=True)


def compare(kind: str, architecture: str) -> None:
    batch = ragged(rows=4)  # the last row has no target: one rank has a micro-batch without any
    expected_loss, expected = naive_gradients(tiny_models.build(architecture), batch, torch.exp)
    model = tiny_models.build(architecture)
    forward = wrapped(model, kind)
    engine = Engine(model, DFT(), forward=forward, chunk_rows=2)
    mine = split(batch, 1)[2 * dist.get_rank() :][:2]
    totals = engine.totals(mine)
    parts = []
    for part in mine:
        parts.append(engine.loss(part, totals))
        parts[-1].loss.backward()
    loss = sum(part.objective for part in parts)
    dist.all_reduce(loss)
    found = {
        name: p.grad.full_tensor() if kind == "fsdp" else p.grad
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    worst = max(abs(loss.item() / expected_loss - 1), largest_difference(found, expected))
    if dist.get_rank() == 0:
        print(f"{kind} {worst:.3e}")


def rank(number: int, store: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2)
    compare("ddp", "llama")
    compare("fsdp", "qwen2")  # a tied head
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(rank, args=(sys.argv[1],), nprocs=2)
