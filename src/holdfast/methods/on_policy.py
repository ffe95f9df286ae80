"""Training on what the model itself said: rollouts, advantages, and clipped policy steps, as a method of the loop.

A rollout is played by the weights as they are, scored once by the same weights (``old_logp``), and learned from in
some passes of some optimizer steps each. Where a rollout is good for one step only, the policy is still the one that
played, so that its own log-probabilities stand in for the score. Replies that teach nothing (those of a group in which
all are worth the same) take no pass; the step divides by all replies as before. A run that is resumed within a rollout
finds what is left of it in the cursor, token by token, so that it goes on as an unbroken one.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``N`` learned tokens.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holdfast.data.batches import collate
from holdfast.data.encode import Encoded
from holdfast.methods.play import TOLD, Play, Played, told
from holdfast.methods.price import Size, added, answering, scoring
from holdfast.models.compute import compute
from holdfast.models.cost import Cost
from holdfast.models.modes import evaluating
from holdfast.models.ranks import Ranks
from holdfast.objectives.engine import Engine
from holdfast.train.method import Batch, MicroLoss

Reals = tuple[float, ...]
"""One for each token of a reply, in order."""


@dataclass(frozen=True)
class Lesson:
    """A reply with what it is worth: a row of an optimizer step.

    Attributes:
        row: Prompt and reply.
        old_logp: Log-probability of each reply token under the policy that played.
        base_logp: The same under the base, where a KL is asked; else empty.
        advantage: Of each token.
        old_value, returns: Of each token, where there is a critic; else empty.
    """

    row: Encoded
    old_logp: Reals
    base_logp: Reals = ()
    advantage: Reals = ()
    old_value: Reals = ()
    returns: Reals = ()


PER_TOKEN = ("old_logp", "base_logp", "advantage", "old_value", "returns")


class PolicyTotals(NamedTuple):
    """What one optimizer step divides by, over all ranks."""

    tokens: int
    rows: int
    ranks: int


class Scores(NamedTuple):
    """What a pass over rows says of each of their learned tokens."""

    logp: list[Reals]
    value: list[Reals]


@dataclass
class Setting:
    """What every method that plays is given.

    Attributes:
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


@dataclass
class OnPolicy(ABC):
    """A method that plays, judges and learns; members say what an episode is worth and what its loss is.

    Attributes:
        setting: See `Setting`.
        passes: Over each rollout.
        cuts: Optimizer steps of one pass.
    """

    setting: Setting
    passes: int
    cuts: int
    _rollout: int = field(default=0, init=False)
    _ahead: deque[list[Lesson]] = field(default_factory=deque, init=False)
    _heard: dict[str, float] = field(default_factory=dict, init=False)
    _generated: dict[str, float] = field(default_factory=dict, init=False)
    _counts: tuple[int, int] = field(default=(1, 1), init=False)
    _shown: dict[str, int] = field(default_factory=dict, init=False)

    @property
    @abstractmethod
    def scores_first(self) -> bool:
        """Whether replies are scored before they are learned from (`holdfast.methods.sampling.Playing`)."""

    def teaches(self, lesson: Lesson) -> bool:  # noqa: ARG002  (members look at it)
        """Whether a reply moves a weight; one that does not is counted and not computed."""
        return True

    @abstractmethod
    def lessons(self, groups: Sequence[Sequence[Played]], scores: Scores, base: Sequence[Reals]) -> list[Lesson]:
        """Return a lesson for each reply, in order.

        Args:
            groups: Episodes, those of one problem together.
            scores: Of each reply under the policy that played.
            base: Log-probabilities of each reply under the base; empty ones without a KL.
        """

    @abstractmethod
    def token_loss(self, batch: Batch, totals: PolicyTotals) -> MicroLoss:
        """Return the loss of one micro-batch, divided by the step's denominator but not yet times the ranks."""

    def values(self, hidden_NH: Tensor) -> Tensor | None:
        """Return what a critic says of states, (N,); None without one."""
        del hidden_NH
        return None

    def next_step(self) -> Sequence[Batch]:
        """Return this rank's micro-batches of the next optimizer step, after a rollout where none is left."""
        if not self._ahead:
            self._play()
        ranks, rows = self.setting.ranks, self.setting.rows_per_batch
        lessons = self._ahead.popleft()
        self._counts = sum(lesson.row.n_learned for lesson in lessons), len(lessons)
        share = lessons[ranks.index :: ranks.count]
        self._shown = {"examples": len(share), "target_tokens": sum(lesson.row.n_learned for lesson in share)}
        own = [lesson for lesson in lessons if self.teaches(lesson)][ranks.index :: ranks.count]
        cuts = [own[at : at + rows] for at in range(0, len(own), rows)]
        # A rank without rows still takes part in every collective.
        return [self._batch(cut) for cut in cuts] or [self._batch(lessons[:1], silent=True)]

    def totals(self, batches: Sequence[Batch]) -> PolicyTotals:
        """Return the step's denominators over all ranks, replies that take no pass included."""
        del batches
        tokens, rows = self._counts
        return PolicyTotals(max(tokens, 1), max(rows, 1), self.setting.ranks.count)

    def loss(self, batch: Batch, totals: PolicyTotals) -> MicroLoss:
        """Return the loss of one micro-batch; the step's part of it tells of its rollout, once."""
        out = self.token_loss(batch, totals)
        heard, self._heard = self._heard, {}
        return MicroLoss(out.loss * totals.ranks, {**out.sums, **{f"rollout_{n}": heard.get(n, 0.0) for n in TOLD}})

    def summarize(self, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Return the loss and how far the policy is from the one that played; after a rollout, how the play went."""
        tokens = sums["target_tokens"] or 1.0
        line = {"loss": sums["loss"], "clip_share": sums["clipped"] / tokens, "policy_drift": sums["drift"] / tokens}
        line |= {name: sums[name] / tokens for name in ("kl", "value_loss") if name in sums}
        episodes, groups, replies = (sums[f"rollout_{name}"] for name in ("episodes", "groups", "replies"))
        if not episodes:
            return line
        # A group of one episode cannot differ.
        mixed = {"mixed_groups": sums["rollout_mixed"] / groups} if episodes > groups else {}
        return line | {
            "reward": sums["rollout_reward"] / episodes,
            "train_success": sums["rollout_solved"] / episodes,
            **mixed,
            "reply_tokens": sums["rollout_reply_tokens"] / replies,
            "cut_off_share": sums["rollout_cut_off"] / replies,
        }

    def step_cost(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """Return the increments of the budget: the step itself, and the rollout that came before it, if one did.

        Examples and target tokens are all that the step is about; FLOPs are those of the replies that take a pass.
        """
        generated, self._generated = self._generated, {}
        spent: dict[str, float] = {**self.setting.cost.spent(batches), **self._shown}
        return spent | {name: spent.get(name, 0) + amount for name, amount in generated.items()}

    def stepped(self) -> None:  # noqa: B027  (a critic overrides it; without one nothing learns beside the model)
        """Hear that the optimizer took its step."""

    @property
    def cursor(self) -> Mapping[str, Any]:
        """The next rollout's number, and what is left of the last one."""
        return {"rollout": self._rollout, "ahead": [_packed(lessons) for lessons in self._ahead]}

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Go to a place that `cursor` named."""
        self._rollout = int(cursor["rollout"])
        self._ahead = deque(_unpacked(packed) for packed in cursor["ahead"])

    def _play(self) -> None:
        setting = self.setting
        groups = setting.play.groups(
            setting.engine.model,
            setting.speaker,
            self._rollout,
            batch_size=setting.answer_batch,
            compute_dtype=setting.compute_dtype,
            ranks=setting.ranks,
        )
        self._rollout += 1
        self._heard = dict(told(groups)) if setting.ranks.is_main else {}
        rows = [turn.row for group in groups for one in group for turn in one.turns]
        unscored = Scores([()] * len(rows), [()] * len(rows))
        scores = self._scored(setting.engine, rows) if self.scores_first else unscored
        base = [()] * len(rows) if setting.base is None else self._scored(setting.base, rows).logp
        lessons = self.lessons(groups, scores, base)
        self._generated = self._price(rows)
        size = -(-len(lessons) // self.cuts)
        for _ in range(self.passes):
            self._ahead.extend(lessons[at : at + size] for at in range(0, len(lessons), size))

    def _scored(self, engine: Engine, rows: Sequence[Encoded]) -> Scores:
        setting, scores = self.setting, Scores([], [])
        with evaluating(engine.model), torch.no_grad(), compute(engine.model, setting.compute_dtype):
            for at in range(0, len(rows), setting.rows_per_batch):
                part = rows[at : at + setting.rows_per_batch]
                batch = collate(part, pad_token_id=setting.pad_token_id).to(setting.device).tensors()
                found = engine.states(batch)
                sizes = [row.n_learned for row in part]
                scores.logp.extend(_parted(found.logp_BT[found.counted_BT], sizes))
                value_N = self.values(found.hidden_NH) if engine is setting.engine else None
                scores.value.extend([()] * len(part) if value_N is None else _parted(value_N, sizes))
        return scores

    def _batch(self, lessons: Sequence[Lesson], *, silent: bool = False) -> Batch:
        setting = self.setting
        made = collate([lesson.row for lesson in lessons], pad_token_id=setting.pad_token_id).to(setting.device)
        tensors = made.tensors()
        if silent:
            tensors = {**tensors, "labels": torch.full_like(tensors["labels"], -100)}
        shape = tensors["labels"].shape
        known = {name: torch.zeros(shape, dtype=torch.float32) for name in PER_TOKEN}
        for place, lesson in enumerate(lessons):
            own = slice(lesson.row.n_prompt, len(lesson.row.input_ids))
            for name, values_BT in known.items():
                if values := getattr(lesson, name):
                    values_BT[place, own] = torch.tensor(values)
        return {**tensors, **{name: values_BT.to(setting.device) for name, values_BT in known.items()}}

    def _price(self, rows: Sequence[Encoded]) -> dict[str, float]:
        """Return what playing and scoring the rows cost: this rank's share of the playing, and its own scoring."""
        setting = self.setting
        sizes = [Size(row.n_prompt, row.n_learned) for row in rows]
        played = answering(setting.cost, sizes[setting.ranks.index :: setting.ranks.count])
        return added(played, scoring(setting.cost, sizes, passes=self.scores_first + (setting.base is not None)))


class Clipped(NamedTuple):
    """The clipped surrogate of each token, and where the bound holds it back."""

    loss_BT: Tensor
    bound_BT: Tensor
    delta_BT: Tensor


def clipped(
    logp_BT: Tensor, batch: Batch, counted_BT: Tensor, *, low: float, high: float, old_BT: Tensor | None = None
) -> Clipped:
    """Return -min(ρ A, clip(ρ, 1 - low, 1 + high) A) of each counted token.

    Args:
        logp_BT, batch, counted_BT: Log-probabilities, what they are held against, and where.
        low, high: Bounds of the ratio ρ.
        old_BT: Of the policy that played; those of ``batch`` if None.
    """
    old_BT = batch["old_logp"] if old_BT is None else old_BT
    delta_BT = (logp_BT - old_BT).masked_fill(~counted_BT, 0.0)
    ratio_BT = delta_BT.exp()
    plain_BT = ratio_BT * batch["advantage"]
    bounded_BT = ratio_BT.clamp(1 - low, 1 + high) * batch["advantage"]
    bound_BT = counted_BT & (bounded_BT < plain_BT).detach()
    return Clipped(-torch.minimum(plain_BT, bounded_BT).masked_fill(~counted_BT, 0.0), bound_BT, delta_BT.detach())


def for_model(batch: Batch) -> Batch:
    """Return a batch without what only the method reads."""
    return {name: values for name, values in batch.items() if name not in PER_TOKEN}


def _parted(values_N: Tensor, sizes: Sequence[int]) -> list[Reals]:
    every, ends = values_N.float().tolist(), itertools.accumulate(sizes)
    return [tuple(every[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _packed(lessons: Sequence[Lesson]) -> str:
    rows = [
        {"ids": lesson.row.input_ids, "n": lesson.row.n_prompt, **{name: getattr(lesson, name) for name in PER_TOKEN}}
        for lesson in lessons
    ]
    return base64.b64encode(zlib.compress(json.dumps(rows).encode())).decode()


def _unpacked(packed: str) -> list[Lesson]:
    rows = json.loads(zlib.decompress(base64.b64decode(packed)))
    return [
        Lesson(Encoded(tuple(row["ids"]), row["n"]), **{name: tuple(row[name]) for name in PER_TOKEN}) for row in rows
    ]
