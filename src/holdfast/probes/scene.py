"""What a probe sees: the model at one moment, the rows that are asked about, and what earlier moments left behind.

`Stage` is made once for a run, a `Scene` at each moment. What is read of the model is counted in FLOPs, and a pass
over the same rows is made once, whoever asks for it.

Shapes: ``B`` rows of a batch, ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from holdfast.data.batches import Batch, collate
from holdfast.data.pictures import tokenizer_of
from holdfast.data.sources import Source
from holdfast.models.compute import compute
from holdfast.models.cost import Cost
from holdfast.models.modes import evaluating
from holdfast.models.ranks import ALONE, Ranks
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine, Totals
from holdfast.probes.rows import Rows, held_out_rows, text_rows, training_rows
from holdfast.recipe import Recipe

Found = TypeVar("Found")
ALONE_IN_STEP = Totals(tokens=1, examples=1, weight=None, batches=1, ranks=1)
"""Totals under which an engine's loss is the plain sum over tokens."""


class Told(NamedTuple):
    """What a teacher-forced pass over rows found, as means over their target tokens.

    Attributes:
        nll: Negative log-likelihood of the targets, in nats.
        entropy: Of the model's whole distribution at the same places, in nats.
        tokens: How many there are.
    """

    nll: float
    entropy: float
    tokens: int


@dataclass(frozen=True)
class Stage:
    """What a run hands its probes, the same at every moment.

    Attributes:
        recipe: Of the run.
        source: Its rows, replayed ones left out.
        speaker: Tokenizer or processor.
        compute_dtype: In which the model is asked.
        forward: FLOPs of a forward pass.
        training: FLOPs of forward and backward for what learns.
        changing: Names, in the plain model, of the tensors that training changes.
        load_base: Loads the untrained model onto the device; called once, when it is first needed.
        base_weight: From a name of ``changing`` to the untrained tensor, in host memory; None on ranks that keep none.
        ranks: Of the job.
        allow_code: Whether the recipe may name outside code.
        kept: What was made once.
    """

    recipe: Recipe
    source: Source
    speaker: Any
    compute_dtype: torch.dtype
    forward: Cost
    training: Cost
    changing: tuple[str, ...]
    load_base: Callable[[], nn.Module]
    base_weight: Callable[[str], Tensor] | None = None
    ranks: Ranks = ALONE
    allow_code: bool = False
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Found]) -> Found:
        """Return what ``make`` returned when it was first asked for under ``key``."""
        if key not in self.kept:
            self.kept[key] = make()
        found: Found = self.kept[key]
        return found


@dataclass
class Scene:
    """The model at one moment.

    Attributes:
        model: Live, in eval mode, its weights as they would be exported (`holdfast.models.compute.exported`).
        step: Optimizer steps taken.
        stage: Of the run.
        past: What `keep` was given at earlier moments, oldest first; JSON values.
        kept: What this moment leaves; None if nothing.
        flops: Spent so far.
    """

    model: Any
    step: int
    stage: Stage
    past: Sequence[Any] = ()
    kept: Any = None
    flops: float = 0.0
    _told: dict[int, tuple[Rows, Told]] = field(default_factory=dict, repr=False)

    def keep(self, value: Any) -> None:
        """Leave JSON values for later moments; the run writes them into its folder."""
        self.kept = value

    def spend(self, flops: float) -> None:
        """Count work that is not done by one of the methods below."""
        self.flops += flops

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    @property
    def base(self) -> nn.Module:
        """The untrained model, in eval mode, frozen. Loaded when first asked for, then kept."""
        return self.stage.once("base", self.stage.load_base)

    def training(self, count: int) -> Rows:
        """Return rows that are learned, evenly spaced; the same at every moment."""
        return self.stage.once(("training", count), lambda: training_rows(self.stage.source, count))

    def held_out(self, count: int, *, path: str | None = None, suite: str | None = None) -> Rows:
        """Return rows that are not learned; see `holdfast.probes.rows.held_out_rows`."""
        stage = self.stage

        def make() -> Rows:
            return held_out_rows(
                stage.recipe, stage.speaker, count, path=path, suite=suite, allow_code=stage.allow_code
            )

        return stage.once(("held out", count, path, suite), make)

    def texts(self, path: str, count: int, *, longest: int) -> Rows:
        """Return general texts of a file; see `holdfast.probes.rows.text_rows`."""
        return self.stage.once(
            ("texts", path, count, longest), lambda: text_rows(path, self.stage.speaker, count, longest=longest)
        )

    def batches(self, rows: Rows) -> Sequence[Batch]:
        """Return rows in padded batches, in their order; their tensors are on the CPU."""
        size = self.stage.recipe.per_device_eval_batch_size
        pad = tokenizer_of(self.stage.speaker).pad_token_id or 0
        encoded = rows.encoded
        return [collate(encoded[at : at + size], pad_token_id=pad) for at in range(0, len(encoded), size)]

    def pass_flops(self, rows: Rows) -> int:
        """Return the FLOPs of a forward pass over rows."""
        forward = self.stage.forward
        return sum(forward.forward_flops(_shape(batch), batch.n_targets) for batch in self.batches(rows))

    def gradient_flops(self, rows: Rows) -> int:
        """Return the FLOPs of a forward and a backward pass over rows, for what learns."""
        training = self.stage.training
        return sum(training.step_flops(_shape(batch), batch.n_targets) for batch in self.batches(rows))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Inside, the model may be called: without gradients, in eval mode, in the run's compute dtype."""
        with evaluating(self.model), torch.no_grad(), compute(self.model, self.stage.compute_dtype):
            yield

    def read(self, rows: Rows) -> Told:
        """Return NLL and entropy of the target tokens of rows, teacher-forced; one pass, made once a moment."""
        if id(rows.encoded) not in self._told:
            self._told[id(rows.encoded)] = rows, self._read(rows)  # with the rows, so that no others get their id
            self.spend(self.pass_flops(rows))
        return self._told[id(rows.encoded)][1]

    def _read(self, rows: Rows) -> Told:
        engine, nll, entropy, tokens = Engine(self.model, Objective()), 0.0, 0.0, 0
        with self.asking():
            for batch in self.batches(rows):
                told = engine.loss(batch.to(self.device).tensors(), ALONE_IN_STEP)
                nll += float(told.sums.nll)
                entropy += float(told.sums.entropy)
                tokens += told.tokens
        return Told(nll / max(tokens, 1), entropy / max(tokens, 1), tokens)


def _shape(batch: Batch) -> tuple[int, int]:
    rows, length = batch.input_ids.shape
    return int(rows), int(length)
