"""The one training loop: every method runs on it, on Accelerate, resumable bit for bit.

The loop yields *moments* to one callable and knows nothing of suites or stopping. At a moment the model is live;
whatever the callable measures, training goes on from the state it left (`models.compute.exported` restores weights,
mode and random states).

The whole algorithm::

    for step in range(start, total):
        micro_batches = method.next_step()                  # one optimizer step's rows
        totals = method.totals(micro_batches)               # global denominators, all ranks
        for batch in micro_batches:
            backward(method.loss(batch, totals))            # already divided: micro-batches add up
        clip, set the learning rate, optimizer step
        if step + 1 in moments: decision = on_moment(...)   # rank 0 decides, all ranks obey
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from holdfast.errors import NonFiniteLoss
from holdfast.models.compute import compute
from holdfast.models.ranks import Ranks
from holdfast.models.sharding import local
from holdfast.records import Decision, Verb
from holdfast.train.budget import Spent
from holdfast.train.meters import lost_update_fraction, sample, swallowed_update_fraction
from holdfast.train.method import Batch, Method
from holdfast.train.moment import Ended, Moment, Seconds, Unlogged
from holdfast.train.schedule import learning_rate
from holdfast.train.stepping import Settings, make_optimizer


class Loop:
    """Training of one model by one method; `state` and `resume` make it continue where it was.

    Args:
        model: Trainable weights and ``requires_grad`` as `models.compute.set_masters` leaves them; on its device, and
            spread over the ranks of the job (`processes.spread`).
        method: Batches and loss.
        settings: How to step.
        accelerator: Made by the caller, who knows devices and trackers.
        spent: Before the first step, on what is learned from. A resumed loop knows it from its state.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        *,
        settings: Settings,
        accelerator: Accelerator,
        spent: Spent | None = None,
    ) -> None:
        self.settings, self.method, self.accelerator = settings, method, accelerator
        self.model, self.ranks = model, Ranks.here()
        self.trainable = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = make_optimizer(self.trainable, settings)
        self.step = 0
        self.spent = Spent() if spent is None else spent
        self.seconds = Seconds()
        self._seconds_at_log = 0.0
        self._tokens_at_log = 0.0
        self._unlogged = Unlogged()
        self._interrupted = False
        self._interrupted_somewhere = False

    def run(
        self,
        *,
        moments: Collection[int],
        on_moment: Callable[[Moment], Decision | None],
        on_log: Callable[[Mapping[str, float]], None],
        save: Callable[[Loop], None],
    ) -> Ended:
        """Train until the budget is used up, a decision says stop, or the user interrupts.

        A first interrupt (SIGINT or SIGTERM) finishes the step and saves; a second one ends at once, which is safe
        because a checkpoint appears whole or not at all. Of several ranks one may hear it first: all end at the step
        after which all know.

        Args:
            moments: Steps to measure at. Step 0 is a moment only of a run that starts there.
            on_moment: Measures and decides. Called on every rank; the decision of rank 0 counts.
            on_log: Receives one line of metrics every ``logging_steps``. Called on every rank.
            save: Writes a checkpoint of the loop. Called on every rank.

        Raises:
            NonFiniteLoss: before a weight is touched by NaN or infinity.
        """
        self.model.train()
        if self.step == 0 and 0 in moments and self._stops(on_moment, save):
            return self.ended("stopped")
        with self._catch_interrupts():
            while self.step < self.settings.steps:
                started = time.perf_counter()
                first_full_step = min(self.settings.warmup_steps, self.settings.steps - 1)
                metered = self.settings.swallow_dtype is not None and self.step == first_full_step
                metrics = self._metered_step() if metered else self._one_step()
                self.seconds = self.seconds._replace(train=self.seconds.train + time.perf_counter() - started)
                if metered or self.step % self.settings.logging_steps == 0 or self.step in (1, self.settings.steps):
                    on_log({**metrics, "clipped_share": self._unlogged.clipped / self._unlogged.steps, **self._pace()})
                    self._unlogged = Unlogged()
                saves_now = self.settings.save_steps and self.step % self.settings.save_steps == 0
                stops = self.step in moments and self._stops(on_moment, save)
                if self._ends or saves_now:
                    save(self)
                if self._ends:
                    return self.ended("interrupted")
                if stops:
                    return self.ended("stopped")
        return self.ended("finished")

    def state(self) -> dict[str, Any]:
        """Return the scalars that a resumed run needs, as JSON; weights and optimizer state are `checkpoint`'s."""
        return {
            "step": self.step,
            "spent": self.spent.to_json(),
            "cursor": dict(self.method.cursor),
            "seconds": self.seconds._asdict(),
            "unlogged": self._unlogged._asdict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take up the scalars of `state`; weights, optimizer and random states are restored by `checkpoint.restore`."""
        self.step = int(state["step"])
        self.spent = Spent.from_json(state["spent"])
        self.method.seek(state["cursor"])
        self.seconds = Seconds(**state["seconds"])
        self._unlogged = Unlogged(**state.get("unlogged", {}))  # checkpoints of before it was counted have none
        self._tokens_at_log, self._seconds_at_log = self.spent.tokens, self.seconds.train

    def ended(self, status: str) -> Ended:
        """Return where training stands, with how it ended."""
        return Ended(status, self.step, self.spent.to_json(), self.seconds)

    @property
    def _ends(self) -> bool:
        return self._interrupted if self.ranks.count == 1 else self._interrupted_somewhere

    def _one_step(self) -> dict[str, float]:
        settings = self.settings
        rate = learning_rate(
            settings.lr_scheduler_type,
            self.step,
            peak=settings.learning_rate,
            total=settings.steps,
            warmup_steps=settings.warmup_steps,
        )
        batches = self.method.next_step()
        with compute(self.model, settings.compute_dtype):
            totals = self.method.totals(batches)
        sums: dict[str, torch.Tensor | float] = {}
        vectors: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with self._accumulating(last), compute(self.model, settings.compute_dtype):
                out = self.method.loss(batch, totals)
                torch.autograd.backward(out.loss)
            for name, value in out.sums.items():
                sums[name] = sums.get(name, 0.0) + value
            for name, vector in out.vectors.items():
                vectors[name] = vectors[name] + vector if name in vectors else vector
        norm = self._clip()
        summed = self._reduced({**sums, "interrupted": float(self._interrupted)}) | self._squared_lengths(vectors)
        self._interrupted_somewhere |= summed.pop("interrupted") > 0
        if not (math.isfinite(summed["loss"]) and math.isfinite(norm)):
            raise NonFiniteLoss(
                f"step {self.step + 1}: loss {summed['loss']}, gradient norm {norm}. No weight was touched and nothing "
                f"was saved by this step. Lower learning_rate ({settings.learning_rate}), or look at its rows."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._unlogged = self._unlogged.plus(clipped=norm > (settings.max_grad_norm or math.inf))
        self.optimizer.step()
        self.method.stepped()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.spent = self.spent.plus(self._step_cost(batches))
        return {"step": self.step, "learning_rate": rate, "grad_norm": norm, **self.method.summarize(summed)}

    def _step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        cost = self.method.step_cost(batches)
        # All ranks' work is one run's work; a step is one step.
        return cost if self.ranks.count == 1 else {**self._reduced(cost), "steps": 1}

    def _metered_step(self) -> dict[str, float]:
        """Take the first step at the full rate, and ask how much of it the weights' own dtype swallows, or would."""
        before = sample(self._slices())
        metrics = self._one_step()
        after = sample(self._slices())
        if any(weight.dtype in (torch.bfloat16, torch.float16) for weight in self.trainable):
            states = [self.optimizer.state[weight] for weight in self.trainable]
            meant = sample({str(n): local(state["exp_avg"]) for n, state in enumerate(states)})
            share = lost_update_fraction(before, after, meant=meant)
            of = sum(int((moment != 0).sum()) for moment in meant.values())
        else:
            assert self.settings.swallow_dtype is not None
            share = swallowed_update_fraction(before, after, dtype=self.settings.swallow_dtype)
            of = sum(int((after[name] != old).sum()) for name, old in before.items())
        if self.ranks.count > 1:  # of slices each rank knows its own
            summed = self._reduced({"lost": (share or 0.0) * of, "of": of})
            share = summed["lost"] / summed["of"] if summed["of"] else None
        return metrics if share is None else {**metrics, "swallowed_update_fraction": share}

    def _slices(self) -> dict[str, torch.Tensor]:
        return {str(number): local(weight) for number, weight in enumerate(self.trainable)}

    @contextmanager
    def _accumulating(self, last: bool) -> Iterator[None]:
        # DDP sums gradients once a step. Shards are summed after every micro-batch: whole gradients would not fit.
        if last or not isinstance(self.model, DistributedDataParallel):
            yield
        else:
            with self.model.no_sync():
                yield

    def _clip(self) -> float:
        gradients = [weight.grad for weight in self.trainable if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        whole_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        limit = self.settings.max_grad_norm or math.inf
        nn.utils.clip_grads_with_norm_(self.trainable, limit, whole_norm)
        return float(whole_norm)

    def _reduced(self, sums: Mapping[str, torch.Tensor | float]) -> dict[str, float]:
        if self.ranks.count == 1:
            return {name: float(value) for name, value in sums.items()}
        device = self.accelerator.device
        values = torch.tensor([float(value) for value in sums.values()], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(values)
        return dict(zip(sums, values.tolist(), strict=True))

    def _squared_lengths(self, vectors: Mapping[str, torch.Tensor]) -> dict[str, float]:
        if not vectors:
            return {}
        flat = torch.cat(list(vectors.values()))
        if self.ranks.count > 1:
            torch.distributed.all_reduce(flat)
        parts = torch.split(flat.cpu().double(), [len(vector) for vector in vectors.values()])
        return {name: float(part.square().sum()) for name, part in zip(vectors, parts, strict=True)}

    def _stops(self, on_moment: Callable[[Moment], Decision | None], save: Callable[[Loop], None]) -> bool:
        moment = Moment(self.step, self.spent.to_json(), self.model, lambda: save(self))
        started = time.perf_counter()
        decision = on_moment(moment)
        self.seconds = self.seconds._replace(measure=self.seconds.measure + time.perf_counter() - started)
        self.model.train()
        stops = self.ranks.is_main and decision is not None and decision.verdict is Verb.STOP
        summed = self._reduced({"stops": float(stops), "interrupted": float(self._interrupted)})
        self._interrupted_somewhere |= summed["interrupted"] > 0
        return summed["stops"] > 0

    def _pace(self) -> dict[str, float]:
        """Return speed since the last line: wall-clock figures are in metrics only, never in records."""
        tokens, seconds = self.spent.tokens - self._tokens_at_log, self.seconds.train - self._seconds_at_log
        self._tokens_at_log, self._seconds_at_log = self.spent.tokens, self.seconds.train
        return {"tokens_per_second": tokens / seconds if seconds else math.nan}

    @contextmanager
    def _catch_interrupts(self) -> Iterator[None]:
        def remember(_number: int, _frame: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        try:
            before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, where Python allows no handlers: interrupts stay the caller's
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
