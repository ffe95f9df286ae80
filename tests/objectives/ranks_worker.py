"""Run by `test_ranks.py`: compares two ranks with one process and prints the largest difference of each kind."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import Random

import torch
import torch.distributed as dist
from objective_kit import largest_difference, naive_gradients, ragged, split
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import tiny_models
from holdfast.data.batches import collate
from holdfast.data.encode import Encoded
from holdfast.data.prefixes import shared_prefixes
from holdfast.models.ranks import Ranks
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.objectives.nll import NLL
from holdfast.objectives.subspace_penalty import penalty_on
from holdfast.recipe import Penalty
from holdfast.spectral.cache import FactorCache
from holdfast.train.method import MicroLoss
from holdfast.train.penalized import LOGGED, Penalized


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
    report(kind, model, sum(part.objective for part in parts), expected_loss, expected)


def report(kind, model, loss, expected_loss, expected) -> None:
    dist.all_reduce(loss)
    found = {
        name: p.grad.full_tensor() if kind.endswith("fsdp") else p.grad
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    worst = max(abs(loss.item() / expected_loss - 1), largest_difference(found, expected))
    if dist.get_rank() == 0:
        print(f"{kind} {worst:.3e}")


def compare_shared(kind: str) -> None:
    """The same where micro-batches share prefixes, but for one, whose rows are too short to have any."""
    random = Random(0)
    heads = [tuple(random.randrange(3, 80) for _ in range(9)) for _ in range(3)]
    rows = [Encoded((*heads[n // 2], 20 + n, 30 + n, *range(40, 41 + n % 3)), 10 - n % 2) for n in range(6)]
    rows += [Encoded((50, 60), 1), Encoded((51, 61), 1)]
    cuts = [rows[at : at + 2] for at in range(0, 8, 2)]
    expected_loss, expected = naive_gradients(tiny_models.build("llama"), collate(rows, pad_token_id=0).tensors())
    model = tiny_models.build("llama")
    engine = Engine(model, NLL(), forward=wrapped(model, kind))
    mine = [
        replace(collate(cut, pad_token_id=0), prefixes=shared_prefixes(cut)).tensors()
        for cut in cuts[2 * dist.get_rank() :][:2]
    ]
    totals = engine.totals(mine)
    loss = torch.zeros(())
    for part in mine:
        step = engine.loss(part, totals)
        step.loss.backward()
        loss += step.objective
    report(f"shared_{kind}", model, loss, expected_loss, expected)


def compare_penalized() -> None:
    """A penalty that every rank computes whole, with its step's first micro-batch, is in the step once."""
    batch, losses, found = ragged(rows=4), [], []
    for alone in (True, False):
        model = tiny_models.build("llama")
        forward = model if alone else wrapped(model, "ddp")
        cuts = split(batch, 1)
        step = cuts if alone else cuts[2 * dist.get_rank() :][:2]
        names = [name for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
        penalty = penalty_on(model, names, Penalty(name="union", strength=1e4), cache=FactorCache(None))
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).mul_(1.01)
        engine = Engine(model, NLL(), forward=forward)
        method = Penalized(Given(engine, step), penalty, Ranks() if alone else Ranks.here())
        totals, told = engine.totals(step), torch.zeros(())
        if alone:
            totals = replace(totals, tokens=totals.tokens // 2, ranks=1)  # both ranks counted these four rows
        for number, part in enumerate(method.next_step()):
            with nullcontext() if alone or number == len(step) - 1 else forward.no_sync():
                out = method.loss(part, totals)
                out.loss.backward()
            told += out.sums.get(LOGGED, 0.0)
        losses.append(told)
        found.append({name: p.grad for name, p in model.named_parameters()})
    report("penalized_ddp", model, losses[1], float(losses[0]), found[0])


@dataclass
class Given:
    """A method whose micro-batches are given."""

    engine: Engine
    step: list

    def next_step(self):
        return self.step

    def loss(self, part, totals):
        return MicroLoss(self.engine.loss(part, totals).loss, {})


def rank(number: int, store: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2)
    compare("ddp", "llama")
    compare("fsdp", "qwen2")  # a tied head
    compare_shared("ddp")
    compare_shared("fsdp")
    compare_penalized()
    dist.barrier()  # a rank that leaves while another still sends may abort at exit (gloo)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(rank, args=(sys.argv[1],), nprocs=2)
