from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from holdfast.errors import NonFiniteLoss
from holdfast.records import Decision, Verb
from holdfast.train.loop import Loop
from holdfast.train.method import Batch, MicroLoss
from holdfast.train.moment import Moment
from holdfast.train.stepping import Settings, make_optimizer


class Line(nn.Module):
    """y = a x + b, with a vector that never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(torch.randn(1, 1))
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.a + self.b


class Fit:
    """Fits y = 3 x - 1; each step two micro-batches, made from the step's number alone."""

    def __init__(self, model: nn.Module, *, poison_at: int | None = None, micro_batches: int = 2) -> None:
        self.model, self.at, self.poison_at, self.micro_batches = model, 0, poison_at, micro_batches

    def next_step(self) -> Sequence[Batch]:
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(self.at))
        self.at += 1
        if self.at == self.poison_at:
            x[0] = float("nan")
        return [{"x": part} for part in x.chunk(self.micro_batches)]

    def totals(self, batches: Sequence[Batch]) -> int:
        return sum(len(batch["x"]) for batch in batches)

    def loss(self, batch: Batch, totals: Any) -> MicroLoss:
        loss = ((self.model(batch["x"]) - (3 * batch["x"] - 1)) ** 2).sum() / totals
        return MicroLoss(loss, {"loss": loss.detach(), "rows": len(batch["x"])})

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        return {"loss": sums["loss"], "rows": sums["rows"]}

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        return {"steps": 1, "tokens": self.totals(batches)}

    def stepped(self) -> None:
        pass

    @property
    def cursor(self) -> Mapping[str, int]:
        return {"at": self.at}

    def seek(self, cursor: Mapping[str, int]) -> None:
        self.at = cursor["at"]


def loop_of(*, steps: int = 6, **options: Any) -> Loop:
    model = Line()
    settings = Settings(steps=steps, learning_rate=0.1, logging_steps=1, max_grad_norm=0.0)
    return Loop(model, Fit(model, **options), settings=settings, accelerator=Accelerator(cpu=True))


def go(loop: Loop, **options: Any) -> tuple[Any, list[dict[str, float]], list[int]]:
    lines: list[dict[str, float]] = []
    saved: list[int] = []
    given: dict[str, Any] = {"moments": (), "on_moment": lambda _: None, **options}
    ended = loop.run(on_log=lambda m: lines.append(dict(m)), save=lambda state: saved.append(state.step), **given)
    return ended, lines, saved


def test_the_loop_equals_ten_lines_of_torch() -> None:
    loop = loop_of()
    _, lines, _ = go(loop)
    model = Line()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    losses = []
    for step in range(6):
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        loss = ((model(x) - (3 * x - 1)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=1e-5)


def test_micro_batches_add_up_to_one_batch() -> None:
    one, four = loop_of(micro_batches=1), loop_of(micro_batches=4)
    assert [m["loss"] for m in go(one)[1]] == pytest.approx([m["loss"] for m in go(four)[1]], rel=1e-5)


def test_moments_happen_at_their_steps_with_what_was_spent() -> None:
    seen: list[tuple[int, float]] = []

    def look(moment: Moment) -> None:
        seen.append((moment.step, moment.spent["tokens"]))

    go(loop_of(), moments=(0, 2, 6), on_moment=look)
    assert seen == [(0, 0), (2, 16), (6, 48)]


def test_a_stop_ends_training_at_its_moment() -> None:
    stop = Decision(Verb.STOP, 2, False, "enough")
    ended, lines, saved = go(loop_of(), moments=(2, 4), on_moment=lambda _: stop)
    assert (ended.status, ended.step, lines[-1]["step"], saved) == ("stopped", 2, 2, [])


def test_only_save_writes() -> None:
    assert go(loop_of(), moments=(0, 2), on_moment=lambda _: None)[2] == []

    def keep(moment: Moment) -> None:
        if moment.step == 2:
            moment.save()

    assert go(loop_of(), moments=(0, 2), on_moment=keep)[2] == [2]


def test_nan_ends_training_before_it_reaches_a_weight() -> None:
    loop = loop_of(poison_at=3)
    with pytest.raises(NonFiniteLoss, match="step 3"):
        go(loop)
    assert all(torch.isfinite(weight).all() for weight in loop.model.parameters())


def test_an_interrupt_finishes_the_step_and_saves() -> None:
    loop = loop_of()

    def interrupt(moment: Moment) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    ended, _, saved = go(loop, moments=(3,), on_moment=interrupt)
    assert (ended.status, ended.step, saved) == ("interrupted", 3, [3])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_resumed_loop_takes_the_very_steps_that_were_left() -> None:
    whole = loop_of()
    go(whole)
    first = loop_of()
    first.settings = Settings(steps=6, learning_rate=0.1, logging_steps=1, max_grad_norm=0.0)
    go(first, moments=(3,), on_moment=lambda _: Decision(Verb.STOP))
    second = loop_of()
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.resume(first.state())
    assert second.seconds == first.seconds
    ended, _, _ = go(second)
    assert ended.seconds.train > first.seconds.train > 0
    for mine, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert second.spent == whole.spent


def test_each_line_tells_which_share_of_the_steps_since_the_last_was_clipped() -> None:
    def lines(*, logging_steps: int, max_grad_norm: float) -> list[dict[str, float]]:
        loop = loop_of()
        loop.settings = Settings(6, 0.0, logging_steps=logging_steps, max_grad_norm=max_grad_norm)
        return go(loop)[1]

    free = lines(logging_steps=1, max_grad_norm=0.0)
    limit = sorted(line["grad_norm"] for line in free)[2]
    clipped = [line["grad_norm"] > limit for line in free]
    each = lines(logging_steps=1, max_grad_norm=limit)
    assert sum(clipped) == 3
    assert [line["grad_norm"] for line in each] == [line["grad_norm"] for line in free], "told as it was before"
    assert [line["clipped_share"] for line in each] == clipped
    few = lines(logging_steps=4, max_grad_norm=limit)
    assert [line["step"] for line in few] == [1, 4, 6]
    assert [line["clipped_share"] for line in few] == [clipped[0], sum(clipped[1:4]) / 3, sum(clipped[4:]) / 2]
    assert {line["clipped_share"] for line in free} == {0.0}


def test_steps_that_were_clipped_before_an_interrupt_are_in_the_line_after_it() -> None:
    settings = Settings(6, 0.1, logging_steps=6, max_grad_norm=1e-3)
    first, second = loop_of(), loop_of()
    first.settings = second.settings = settings
    go(first, moments=(4,), on_moment=lambda _: Decision(Verb.STOP))
    second.resume(first.state())
    second.settings = Settings(6, 0.0, logging_steps=6, max_grad_norm=1e9)
    (line,) = go(second)[1]
    assert line["clipped_share"] == 3 / 5  # steps 2 to 4 of 2 to 6


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_loss_a_twentieth_as_large_takes_the_same_steps(decay: float) -> None:
    """As under DFT: AdamW forgets the scale of gradients while they are above its epsilon, and decays apart."""

    class Small(Fit):
        def loss(self, batch: Batch, totals: Any) -> MicroLoss:
            return super().loss(batch, 20 * totals)

    ends = []
    for kind in (Fit, Small):
        model = Line()
        settings = Settings(6, 0.1, logging_steps=1, max_grad_norm=0.0, weight_decay=decay)
        go(Loop(model, kind(model), settings=settings, accelerator=Accelerator(cpu=True)))
        ends.append([weight.detach().clone() for weight in model.parameters()])
    for small, large in zip(*ends, strict=True):
        torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)


def test_weight_decay_spares_vectors() -> None:
    model = Line()
    groups = make_optimizer(list(model.parameters()), Settings(steps=1, learning_rate=1, weight_decay=0.1)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (1, 0.0)]
    assert groups[0]["params"][0] is model.a
