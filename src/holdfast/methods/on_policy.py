"""Training on what the model itself said: rollouts, advantages, and clipped policy steps, as a method of the loop.

A rollout is played by the weights as they are, scored once by the same weights (``old_logp``), and learned from in
``num_iterations`` passes of ``steps_per_generation`` optimizer steps each. A run that is resumed within a rollout finds
what is left of it in the cursor, token by token, so that it goes on as an unbroken one.

Shapes: ``B`` rows of a batch, ``T`` tokens.
"""

from __future__ import annotations

import base64
import json
import statistics
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.data.batches import collate
from holdfast.data.encode import Encoded
from holdfast.methods.grpo import GRPO
from holdfast.methods.play import Play, Played, told
from holdfast.models.compute import compute
from holdfast.models.cost import Cost
from holdfast.models.modes import evaluating
from holdfast.models.ranks import Ranks
from holdfast.objectives.engine import Engine
from holdfast.train.method import Batch, MicroLoss


class Lesson(NamedTuple):
    """A reply with what it is worth: a row of an optimizer step.

    Attributes:
        row: Prompt and reply.
        advantage: Of every token of the reply.
        old_logp: Log-probability of each reply token under the policy that played, in order.
        base_logp: The same under the base, where a KL is asked; else empty.
    """

    row: Encoded
    advantage: float
    old_logp: tuple[float, ...]
    base_logp: tuple[float, ...] = ()


class PolicyTotals(NamedTuple):
    """What one optimizer step divides by, over all ranks."""

    tokens: int
    rows: int
    ranks: int


def group_relative(groups: Sequence[Sequence[Played]], *, scale: bool) -> list[list[float]]:
    """Return the advantage of every episode: its reward less its group's mean, over the standard deviation if ``scale``.

    A group of equal rewards has advantages of 0.
    """
    found = []
    for group in groups:
        rewards = [one.reward for one in group]
        mean, spread = statistics.fmean(rewards), statistics.pstdev(rewards)
        divisor = spread if scale else 1.0
        found.append([(reward - mean) / divisor if spread > 0 else 0.0 for reward in rewards])
    return found


@dataclass
class OnPolicy:
    """GRPO as a method of the loop.

    Attributes:
        options: Of the recipe's method.
        play: Plays the rollouts.
        engine: Gives log-probabilities of the model as it is called in training.
        base: Gives those of the base, where a KL is asked.
        speaker: Tokenizer or processor.
        rows_per_batch: Rows of a micro-batch.
        answer_batch: Rows that answer together.
        compute_dtype: Of training and of rollouts alike.
        pad_token_id: Stands where there is nothing.
        cost: FLOPs of a micro-batch, and of generation.
        device: Where the model is.
        ranks: Of the job: they share the playing, and each learns its part of the rows.
    """

    options: GRPO
    play: Play
    engine: Engine
    base: Engine | None
    speaker: Any
    rows_per_batch: int
    answer_batch: int
    compute_dtype: torch.dtype
    pad_token_id: int
    cost: Cost
    device: torch.device
    ranks: Ranks

    def __post_init__(self) -> None:
        self._rollout = 0
        self._ahead: deque[list[Lesson]] = deque()
        self._heard: dict[str, float] = {}
        self._generated: dict[str, float] = {}

    def next_step(self) -> Sequence[Batch]:
        """Return this rank's micro-batches of the next optimizer step, after a rollout where none is left."""
        if not self._ahead:
            self._play()
        lessons = self._ahead.popleft()
        own = lessons[self.ranks.index :: self.ranks.count]
        cuts = [own[at : at + self.rows_per_batch] for at in range(0, len(own), self.rows_per_batch)]
        return [self._batch(cut) for cut in cuts] or [self._batch(lessons[:1], silent=True)]

    def totals(self, batches: Sequence[Batch]) -> PolicyTotals:
        """Return the step's denominators over all micro-batches and ranks."""
        tokens = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in batches)
        rows = sum(int((batch["labels"] >= 0).any(1).sum()) for batch in batches)
        shared = self.ranks.gathered([tokens, rows])
        return PolicyTotals(sum(one[0] for one in shared), sum(one[1] for one in shared), self.ranks.count)

    def loss(self, batch: Batch, totals: PolicyTotals) -> MicroLoss:
        """Return the clipped surrogate of one micro-batch, divided by the step's denominator."""
        found = self.engine.logp(batch)
        counted_BT, advantage_BT = found.counted_BT, batch["advantage"]
        delta_BT = (found.logp_BT - batch["old_logp"]).masked_fill(~counted_BT, 0.0)
        ratio_BT = delta_BT.exp()
        high = self.options.epsilon if self.options.epsilon_high is None else self.options.epsilon_high
        bounded_BT = ratio_BT.clamp(1 - self.options.epsilon, 1 + high)
        plain_BT, clipped_BT = ratio_BT * advantage_BT, bounded_BT * advantage_BT
        loss_BT = -torch.minimum(plain_BT, clipped_BT)
        kl_BT = torch.zeros_like(loss_BT)
        if self.options.beta:
            apart_BT = (batch["base_logp"] - found.logp_BT).masked_fill(~counted_BT, 0.0)
            kl_BT = apart_BT.exp() - apart_BT - 1
            loss_BT = loss_BT + self.options.beta * kl_BT
        loss = (loss_BT * self._shares(counted_BT.to(loss_BT.dtype), totals)).sum()
        cut_BT = counted_BT & (clipped_BT.detach() < plain_BT.detach())
        heard, self._heard = self._heard, {}  # of this step's rollout, told once
        sums: dict[str, Tensor | float] = {
            "loss": loss.detach(),
            "target_tokens": int(counted_BT.sum()),
            "clipped": cut_BT.sum(),
            "kl": kl_BT.detach().sum(),
            "drift": -delta_BT.detach().sum(),
            **{f"rollout_{name}": heard.get(name, 0.0) for name in TOLD},
        }
        return MicroLoss(loss * totals.ranks, sums)

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return the loss, the share of clipped tokens, the drift from the policy that played, and how the play went."""
        tokens = sums["target_tokens"] or 1.0
        line = {"loss": sums["loss"], "clip_share": sums["clipped"] / tokens, "policy_drift": sums["drift"] / tokens}
        if self.options.beta:
            line["kl"] = sums["kl"] / tokens
        episodes, groups, replies = (sums[f"rollout_{name}"] for name in ("episodes", "groups", "replies"))
        if episodes:
            line |= {
                "reward": sums["rollout_reward"] / episodes,
                "train_success": sums["rollout_solved"] / episodes,
                "mixed_groups": sums["rollout_mixed"] / groups,
                "reply_tokens": sums["rollout_reply_tokens"] / replies,
                "cut_off_share": sums["rollout_cut_off"] / replies,
            }
        return line

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the increments of the budget: the step itself, and the rollout that came before it, if one did."""
        generated, self._generated = self._generated, {}
        spent = dict(self.cost.spent(batches))
        for name, amount in generated.items():
            spent[name] = spent.get(name, 0) + amount
        return spent

    @property
    def cursor(self) -> Mapping[str, Any]:
        """The next rollout's number, and what is left of the last one."""
        return {"rollout": self._rollout, "ahead": [_packed(lessons) for lessons in self._ahead]}

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        self._rollout = int(cursor["rollout"])
        self._ahead = deque(_unpacked(packed) for packed in cursor["ahead"])

    def _play(self) -> None:
        model = self.engine.model
        groups = self.play.groups(
            model,
            self.speaker,
            self._rollout,
            batch_size=self.answer_batch,
            compute_dtype=self.compute_dtype,
            ranks=self.ranks,
        )
        self._rollout += 1
        self._heard = dict(told(groups)) if self.ranks.is_main else {}
        advantages = group_relative(groups, scale=self.options.scale_rewards == "group")
        rows, worth = [], []
        for group, own in zip(groups, advantages, strict=True):
            for one, advantage in zip(group, own, strict=True):
                rows += [turn.row for turn in one.turns]
                worth += [advantage] * len(one.turns)
        old = self._scored(self.engine, rows)
        base = self._scored(self.base, rows) if self.base is not None else [()] * len(rows)
        lessons = [Lesson(*each) for each in zip(rows, worth, old, base, strict=True)]
        self._generated = self._price(rows)
        size = -(-len(lessons) // self.options.steps_per_generation)
        for _ in range(self.options.num_iterations):
            self._ahead.extend(lessons[at : at + size] for at in range(0, len(lessons), size))

    def _scored(self, engine: Engine, rows: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return log-probabilities of every row's reply tokens."""
        found: list[tuple[float, ...]] = []
        with evaluating(engine.model), torch.no_grad(), compute(engine.model, self.compute_dtype):
            for at in range(0, len(rows), self.rows_per_batch):
                part = rows[at : at + self.rows_per_batch]
                batch = collate(part, pad_token_id=self.pad_token_id).to(self.device).tensors()
                logp_BT = engine.logp(batch).logp_BT.float().cpu()
                found += [
                    tuple(logp_BT[place, row.n_prompt : len(row.input_ids)].tolist()) for place, row in enumerate(part)
                ]
        return found

    def _batch(self, lessons: Sequence[Lesson], *, silent: bool = False) -> Batch:
        batch = collate([lesson.row for lesson in lessons], pad_token_id=self.pad_token_id).to(self.device)
        tensors = batch.tensors()
        shape = tensors["labels"].shape
        filled = {name: torch.zeros(shape, dtype=torch.float32) for name in ("advantage", "old_logp", "base_logp")}
        for place, lesson in enumerate(lessons):
            own = slice(lesson.row.n_prompt, len(lesson.row.input_ids))
            filled["advantage"][place, own] = lesson.advantage
            filled["old_logp"][place, own] = torch.tensor(lesson.old_logp)
            if lesson.base_logp:
                filled["base_logp"][place, own] = torch.tensor(lesson.base_logp)
        if silent:  # a rank without rows still takes part in every collective
            tensors = {**tensors, "labels": torch.full_like(tensors["labels"], -100)}
        return {**tensors, **{name: values.to(self.device) for name, values in filled.items()}}

    def _shares(self, counted_BT: Tensor, totals: PolicyTotals) -> Tensor:
        match self.options.loss_type:
            case "dapo":
                return counted_BT / max(totals.tokens, 1)
            case "grpo":
                return counted_BT / counted_BT.sum(1, keepdim=True).clamp(min=1) / max(totals.rows, 1)
            case _:
                return counted_BT / (max(totals.rows, 1) * self.options.max_new_tokens)

    def _price(self, rows: Sequence[Encoded]) -> dict[str, float]:
        """Return what playing and scoring the rows cost: this rank's share of it."""
        own = rows[self.ranks.index :: self.ranks.count]
        flops = sum(self.cost.generation_flops(row.n_prompt, len(row.input_ids) - row.n_prompt) for row in own)
        passes = 1 + (self.base is not None)
        flops += passes * sum(
            self.cost.forward_flops((1, len(row.input_ids)), len(row.input_ids) - row.n_prompt) for row in rows
        )
        return {"flops": flops, "generated_tokens": sum(len(row.input_ids) - row.n_prompt for row in own)}


TOLD = ("episodes", "groups", "reward", "solved", "mixed", "replies", "reply_tokens", "cut_off")


def _packed(lessons: Sequence[Lesson]) -> str:
    rows = [
        {"ids": row.input_ids, "n": row.n_prompt, "a": advantage, "old": old, "base": base}
        for row, advantage, old, base in lessons
    ]
    return base64.b64encode(zlib.compress(json.dumps(rows).encode())).decode()


def _unpacked(packed: str) -> list[Lesson]:
    rows = json.loads(zlib.decompress(base64.b64decode(packed)))
    return [
        Lesson(Encoded(tuple(row["ids"]), row["n"]), row["a"], tuple(row["old"]), tuple(row["base"])) for row in rows
    ]
