"""Ask suites by real generation while a Transformers or TRL trainer trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from holdfast.environments.base import Environment
from holdfast.errors import UserError
from holdfast.evaluate.evaluate import SuiteResult, evaluate
from holdfast.evaluate.suite import Suite
from holdfast.models.compute import exported, parameter_dtypes
from holdfast.recipe import Decoding


def suite(
    name: str,
    environment: Environment,
    rule: str,
    *,
    purpose: str = "ood",
    size: int = 100,
    split: str = "test",
    seed: int = 1_000,
    max_new_tokens: int = 128,
) -> Suite:
    """Return a suite of ``size`` problems of one rule, answered greedily once.

    Args:
        name: Scores are logged as ``eval_<name>_<metric>``.
        environment: The one that training rows come from, so that its splits share no problem; or
            `holdfast.evaluate.file_problems.FileProblems` with its ``RULE`` for a JSONL file of your own.
        rule: The rule to ask under.
        purpose: ``id``, ``ood`` or ``retention``.
        size, split, seed: Which problems; the same ones at every step.
        max_new_tokens: Longest answer.
    """
    return Suite(
        name=name, purpose=purpose, environment=environment, rule=rule, size=size, size_during=size, split=split,
        seed=seed, attempts=1, decoding=Decoding(max_new_tokens=max_new_tokens), halves=False,
    )  # fmt: skip


class SuiteCallback(TrainerCallback):  # type: ignore[misc]  # Transformers ships no types
    """Scores suites during training: at the first step, then ``every`` so many, and at the last.

    The scores are in the trainer's ``log_history`` (and so in ``trainer_state.json``) as ``eval_<suite>_success``, with
    its 95 % interval as ``…_low`` and ``…_high``, and the suite's other metrics. Set ``callback.trainer = trainer`` to
    send them to trackers as well. Where the trainer itself evaluates, its metrics get the latest scores too, so
    ``metric_for_best_model="eval_ood_success"`` with ``save_strategy="best"`` works (a suite that chooses the
    checkpoint no longer measures it: ask another one at the end). Put this callback before an
    ``EarlyStoppingCallback``.

    The model answers in eval mode and is left as it was: modes, caches, random states. Every rank asks every problem,
    so no rank waits. Not for sharded models (FSDP, DeepSpeed): holdfast's own loop does that.

    Args:
        suites: From `suite`, or of a recipe (`holdfast.evaluate.suite.make_all`).
        every: Steps between scores; None scores whenever the trainer evaluates.
        batch_size: Problems answered at a time.

    Attributes:
        results: For each scored step, the full result of each suite, samples included.
        trainer: The trainer whose ``log`` receives the scores; None appends them to the history only.

    Raises:
        UserError: no suites, two of one name, or ``every`` below 1; at the start of training: a sharded model, or no
            tokenizer.
    """

    def __init__(self, suites: Sequence[Suite], *, every: int | None = None, batch_size: int = 64) -> None:
        names = [one.name for one in suites]
        if not names or len(set(names)) < len(names):
            raise UserError(f"give at least one suite, each with a name of its own; found {names}")
        if every is not None and every < 1:
            raise UserError(f"every must be at least 1 step, got {every}")
        self.suites = tuple(suites)
        self.every = every
        self.batch_size = batch_size
        self.results: dict[int, tuple[SuiteResult, ...]] = {}
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, _control: Any, **live: Any) -> None:
        """Score the model as it comes: what is kept or lost can only be told against that."""
        if args.fsdp or args.deepspeed:
            raise UserError("SuiteCallback does not score sharded models (FSDP, DeepSpeed); use `holdfast train`")
        if live.get("processing_class") is None:
            raise UserError("SuiteCallback needs the trainer's processing_class: pass the tokenizer to the trainer")
        self._score(state, **live)

    def on_step_end(self, _args: Any, state: Any, control: Any, **live: Any) -> None:
        """Score after every ``every`` steps, and after the last one."""
        last = control.should_training_stop or state.global_step >= state.max_steps
        if last or (self.every is not None and state.global_step % self.every == 0):
            self._score(state, **live)

    def on_evaluate(self, _args: Any, state: Any, _control: Any, metrics: dict[str, float], **live: Any) -> None:
        """Add the scores of this step, or else the latest ones, to the trainer's own metrics."""
        if self.every is None:
            self._score(state, **live)
        if self.results:
            metrics.update(scores(self.results[max(self.results)]))

    def _score(self, state: Any, *, model: Any, processing_class: Any, **_: Any) -> None:
        if state.global_step in self.results:
            return
        dtype = _dtype(model)
        with exported(model, dtype):
            found = tuple(
                evaluate(model, processing_class, one, batch_size=self.batch_size, compute_dtype=dtype)
                for one in self.suites
            )
        self.results[state.global_step] = found
        if self.trainer is not None:
            self.trainer.log(scores(found))
        else:
            state.log_history.append({**scores(found), "epoch": state.epoch, "step": state.global_step})


def scores(results: Sequence[SuiteResult]) -> dict[str, float]:
    """Return what is logged: each known estimate by its name, and the interval of each success rate."""
    found: dict[str, float] = {}
    for result in results:
        for name, estimate in result.estimates.items():
            values: Mapping[str, float | None] = {name: estimate.value}
            if name == f"eval_{result.name}_success":
                values = {**values, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            found.update({key: value for key, value in values.items() if value is not None})
    return found


def _dtype(model: Any) -> torch.dtype:
    """The model's dtype; with float32 masters over half precision, the latter: what a plain load would compute in."""
    dtypes = parameter_dtypes(model)
    halves = dtypes & {torch.bfloat16, torch.float16}
    return next(iter(halves or dtypes))
