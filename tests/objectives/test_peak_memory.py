"""How many bytes are alive at once: a few chunks of logits, however many rows there are."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers as hf
from objective_kit import Anchored, Smoothed
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tiny_models
from holdfast.objectives.chunks import Rows, chunked_logp, chunked_loss
from holdfast.objectives.dft import DFT
from holdfast.objectives.head import OutputHead
from holdfast.objectives.head_gradients import HeadGradients
from holdfast.objectives.nll import NLL

N, H, V, CHUNK = 768, 16, 4096, 32
ALL_LOGITS, ONE_CHUNK, WEIGHT = 4 * N * V, 4 * CHUNK * V, 4 * H * V


class Alive(TorchDispatchMode):
    """Counts the bytes of what is made inside for as long as they are alive; ``peak`` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.made(value.untyped_storage(), old)
        return result

    def made(self, storage: torch.UntypedStorage, old: set[int]) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place in old or place in self.known or not size:
            return
        self.known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.freed, place, size)

    def freed(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def head(kind: str) -> OutputHead:
    config = tiny_models.CONFIGS["llama"]()
    config.vocab_size = V
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(config)
    if kind == "traced":
        model.lm_head = Doubled(model.lm_head)
    made = OutputHead(model)
    made.trunk(model, {"input_ids": torch.tensor([[5, 6]])})
    return made


class Doubled(nn.Linear):
    """A head that is not a plain linear map."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.weight = linear.weight

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(2 * hidden, self.weight)


def rows(**more: Any) -> Rows:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(N, H, generator=generator).requires_grad_()
    return Rows(hidden, torch.randint(0, V, (N,), generator=generator), torch.full((N,), 1 / N), **more)


@contextmanager
def alive() -> Iterator[Alive]:
    with Alive() as meter:
        yield meter


@pytest.mark.parametrize("kind", ["linear", "traced"])
@pytest.mark.parametrize("objective", [NLL(), DFT(), Smoothed(), Anchored()], ids=lambda one: type(one).__name__)
def test_no_more_than_a_few_chunks_of_logits_are_alive_at_once(objective, kind):
    own, base = head(kind), head("linear")
    taken = rows(base_hidden_NH=torch.zeros(N, H)) if objective.needs else rows()
    with alive() as meter:
        chunked_loss(
            own, taken, objective=objective, chunk_rows=CHUNK, base_head=base if objective.needs else None
        ).loss.backward()
    assert meter.peak <= 8 * ONE_CHUNK + 2 * WEIGHT < ALL_LOGITS / 2


@pytest.mark.parametrize("kind", ["linear", "traced"])
def test_no_more_than_a_few_chunks_are_alive_for_log_probabilities_and_their_way_back(kind):
    own, taken = head(kind), rows()
    with alive() as meter:
        chunked_logp(own, taken, chunk_rows=CHUNK).sum().backward()
    assert meter.peak <= 6 * ONE_CHUNK + 2 * WEIGHT


def test_the_meter_sees_the_logits_of_a_plain_loss_and_chunks_that_are_kept(monkeypatch):
    own, taken = head("linear"), rows()
    with alive() as meter:
        nn.functional.cross_entropy(own.module(taken.hidden_NH), taken.target_N).backward()
    assert meter.peak >= 2 * ALL_LOGITS
    plain, kept = HeadGradients.add, []

    def keeping(self, at, hidden_RH, z_RV, d_z_RV):
        kept.append(d_z_RV)
        plain(self, at, hidden_RH, z_RV, d_z_RV)

    monkeypatch.setattr(HeadGradients, "add", keeping)
    with alive() as meter:
        chunked_loss(own, rows(), objective=DFT(), chunk_rows=CHUNK).loss.backward()
    assert meter.peak >= ALL_LOGITS


def test_ten_times_the_rows_take_hardly_more_memory():
    own, peaks = head("linear"), []
    for count in (CHUNK * 2, CHUNK * 20):
        some = rows().part(0, count)
        with alive() as meter:
            chunked_loss(own, some, objective=DFT(), chunk_rows=CHUNK).loss.backward()
        peaks.append(meter.peak)
    assert peaks[1] <= 1.2 * peaks[0]
