"""The one place where an objective meets a model: shift, mask, chunks, float32 statistics and the normalization.

For one optimizer step with micro-batches b, and for the tokens n of each that carry a target::

    step loss = Σ_b engine.loss(b, totals).loss
              = Σ_n c_n · (sg(w_n) · l_n + penalty_n)  +  regularizer(model)  +  router factor · mean_b router loss_b

``c_n`` is 1/tokens, 1/(examples · tokens of the example), or 1/Σw, counted over all micro-batches *and all ranks* of
the step. So eight batches of one row, four of two and one of eight give one gradient, however ragged the rows are.

Which tokens count is said in `holdfast.objectives.targets`. Rows that do not count never reach the output head; logits
exist one bounded chunk at a time (`chunks`, `head`).

Shapes: ``B`` rows of a batch, ``T`` tokens, ``N`` counted tokens, ``H`` hidden width, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from holdfast.errors import DataError, ModelError, UserError, did_you_mean
from holdfast.models import shared_prefix
from holdfast.models.modes import evaluating
from holdfast.models.shared_prefix import Layout, sharing
from holdfast.objectives.base import OF_THE_BASE, Objective
from holdfast.objectives.chunks import ChunkLoss, Rows, Sums, chunked_logp, chunked_loss
from holdfast.objectives.head import OutputHead, TrunkOutput
from holdfast.objectives.spread import GradientSpread
from holdfast.objectives.targets import answers, counted_targets, means

Batch = Mapping[str, Tensor]
"""``input_ids``, ``attention_mask`` and ``labels``, each (B, T); what else is in it goes to the model, but for
``base_logp`` and ``old_logp``, (B, T), aligned with the labels, for objectives that need them, for ``row_weight``,
(B,), by which all that a row adds is multiplied, and for the keys of `holdfast.models.shared_prefix`, with which common
beginnings of rows are computed once."""

NORMALIZATIONS = ("tokens", "examples", "weights")

NOT_FOR_THE_MODEL = ("labels", "base_logp", "old_logp", "row_weight", *shared_prefix.KEYS)


@dataclass(frozen=True)
class Totals:
    """What one optimizer step divides by, over all its micro-batches and all ranks.

    Attributes:
        tokens: Counted target tokens.
        examples: Rows with at least one of them.
        weight: Σ w, only for ``normalize="weights"``.
        batches: Micro-batches on this rank.
        ranks: Data-parallel processes.
    """

    tokens: int
    examples: int
    weight: float | None
    batches: int
    ranks: int


@dataclass(frozen=True)
class StepLoss:
    """The loss of one micro-batch, and the plain sums beside it (this rank's, tensors, so that nothing waits).

    Attributes:
        loss: Scalar with graph, already divided. Sum over the micro-batches of a step to get the step's loss. With
            several ranks it is times their number, because data parallelism averages gradients; `objective` is not.
        objective: The part Σ c·(w·l + penalty) alone, undivided by ranks: what curves show. No graph.
        sums: Sums over the counted tokens (see `Sums`).
        tokens: Counted tokens.
        spread: Of the tokens' gradients (see `GradientSpread`).
        router_loss: The router balancing loss before its coefficient; None where the model gives none.
    """

    loss: Tensor
    objective: Tensor
    sums: Sums
    tokens: int
    spread: GradientSpread
    router_loss: Tensor | None = None


class TokenLogp(NamedTuple):
    """Log-probabilities aligned with labels: ``logp_BT`` float32, 0 where ``counted_BT`` is False."""

    logp_BT: Tensor
    counted_BT: Tensor


class TokenStates(NamedTuple):
    """Log-probabilities as in `TokenLogp`, and ``hidden_NH``, the state from which each counted token was predicted."""

    logp_BT: Tensor
    counted_BT: Tensor
    hidden_NH: Tensor


class _Weighted(NamedTuple):
    part: ChunkLoss
    tokens: int
    outputs: Mapping[str, Any]


class Engine:
    """Computes an objective on a model, exactly and in bounded memory.

    Args:
        model: A causal language model, adapters included, but not wrapped for data parallelism.
        objective: What is minimized.
        normalize: ``tokens``: each token of the step counts the same. ``examples``: each row counts the same, and its
            tokens share that. ``weights``: divide by Σw, which keeps the loss as large as NLL; costs a second forward
            without gradients.
        chunk_rows: Rows whose logits exist at once. None: as many as 256 MB of float32 logits hold, at least 1,024.
        forward: What is called in place of ``model``: a data-parallel wrapper around it.
        base: The untrained model, for objectives that need it (`OF_THE_BASE`); ``base_logp`` may stand in the batches.
        temperature: Of all probabilities: 1, or that at which answers are drawn.

    Raises:
        UserError: an unknown normalization, or the objective needs a base model and there is none.
        ModelError: the model has no output head that holdfast can use.

    Example:
        >>> from holdfast.objectives.dft import DFT
        >>> engine = Engine(model, DFT())                                         # doctest: +SKIP
        >>> totals = engine.totals(batches)                                       # doctest: +SKIP
        >>> for batch in batches:                                                 # doctest: +SKIP
        ...     engine.loss(batch, totals).loss.backward()
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        normalize: str = "tokens",
        chunk_rows: int | None = None,
        forward: Callable[..., Any] | None = None,
        base: nn.Module | None = None,
        temperature: float = 1.0,
    ) -> None:
        if normalize not in NORMALIZATIONS:
            raise UserError(f"normalize: no such choice: {normalize!r}. {did_you_mean(normalize, NORMALIZATIONS)}")
        if "base_logits" in objective.needs and base is None:
            raise UserError(f"objective {type(objective).__name__} compares with the base model's logits; give base=")
        if chunk_rows is not None and chunk_rows < 1:
            raise UserError(f"chunk_rows must be at least 1, got {chunk_rows}")
        self.model = model
        self.objective = objective
        self.normalize = normalize
        self.chunk_rows = chunk_rows
        self.head = OutputHead(model, temperature=temperature)
        self.base = base
        self.base_head = None if base is None else OutputHead(base)
        self.forward = model if forward is None else forward

    def totals(self, batches: Sequence[Batch]) -> Totals:
        """Count what one optimizer step divides by; every rank must call it, once a step.

        Reads labels and masks only, unless ``normalize="weights"``: then the model runs once over each batch without
        gradients. The random state is put back, so dropout draws the same masks in the pass with gradients.
        """
        counted = [counted_targets(batch) for batch in batches]
        if any(
            shared_prefix.learns_prefix(batch, counted_BT) for batch, counted_BT in zip(batches, counted, strict=True)
        ):
            raise DataError(
                "a row learns a token whose prediction it shares; a shared prefix ends before the prompt does"
            )
        sums = [float(sum(int(c.sum()) for c in counted)), float(sum(int(c.any(1).sum()) for c in counted)), 0.0]
        if self.normalize == "weights":
            one = Totals(tokens=1, examples=1, weight=1.0, batches=len(batches), ranks=1)
            with torch.no_grad(), torch.random.fork_rng(_cuda_devices(batches)):
                sums[2] = sum(float(self._weighted(batch, one).part.sums.weight) for batch in batches)
        ranks = 1
        if dist.is_available() and dist.is_initialized():
            ranks = dist.get_world_size()
            shared = torch.tensor(sums, dtype=torch.float64, device=next(self.model.parameters()).device)
            dist.all_reduce(shared)
            sums = shared.tolist()
        weight = sums[2] if self.normalize == "weights" else None
        return Totals(int(sums[0]), int(sums[1]), weight, len(batches), ranks)

    def loss(self, batch: Batch, totals: Totals) -> StepLoss:
        """Return the micro-batch's part of the step's loss.

        A micro-batch without a counted token gives 0 with a graph. The regularizer and the router loss are spread
        evenly over the step's micro-batches, so each is in the step once.

        Raises:
            DataError: labels, masks or optional statistics do not fit ``input_ids``.
            ModelError: the model's forward treats its output head in a way holdfast does not know (first call only).
        """
        part, tokens, outputs = self._weighted(batch, totals)
        loss = part.loss * totals.ranks
        extra = self.objective.regularizer(self.model)
        if extra is not None:
            loss = loss + extra / totals.batches
        router_loss = self._router_loss(outputs)
        if router_loss is not None:
            loss = loss + router_loss * self._router_coefficient() / totals.batches
            router_loss = router_loss.detach()
        # Empty, so worth 0: it ties the loss to what forward returned, on which sharding wrappers hang their hooks.
        loss = loss + outputs["logits"][..., :0, :].sum().to(loss.dtype)
        return StepLoss(loss, part.loss.detach(), part.sums, tokens, part.spread, router_loss)

    def logp(self, batch: Batch) -> TokenLogp:
        """Return the log-probability of every counted label, differentiable, in bounded memory.

        What losses over whole sequences are made of (DPO, PPO, a KL on sampled tokens), and what an objective's
        ``base_logp`` and ``old_logp`` are computed with beforehand.
        """
        found = self.states(batch)
        return TokenLogp(found.logp_BT, found.counted_BT)

    def states(self, batch: Batch) -> TokenStates:
        """Return what `logp` returns, and the states that the labels were predicted from: what a critic reads."""
        trunk, counted_BT = self._trunk(batch)
        rows = _gathered(batch, trunk, counted_BT, shares_BT=counted_BT)
        logp_N = chunked_logp(self.head, rows, chunk_rows=self.chunk_rows)
        # Empty, so worth 0: it ties what is returned to what forward returned (see `loss`).
        logp_N = logp_N + trunk.outputs["logits"][..., :0, :].sum().to(logp_N.dtype)
        logp_BT = logp_N.new_zeros(counted_BT.shape).masked_scatter(counted_BT, logp_N)
        return TokenStates(logp_BT, counted_BT, rows.hidden_NH)

    def _weighted(self, batch: Batch, totals: Totals) -> _Weighted:
        trunk, counted_BT = self._trunk(batch)
        dtype = torch.promote_types(trunk.hidden_BTH.dtype, torch.float32)
        shares_BT = self._shares(counted_BT.to(dtype), totals)
        if "row_weight" in batch:
            shares_BT = shares_BT * batch["row_weight"][:, None]
        rows = self._rows(batch, trunk, counted_BT, shares_BT=shares_BT)
        part = chunked_loss(
            self.head, rows, objective=self.objective, chunk_rows=self.chunk_rows, base_head=self.base_head
        )
        return _Weighted(part, len(rows.target_N), trunk.outputs)

    def _trunk(self, batch: Batch) -> tuple[TrunkOutput, Tensor]:
        counted_BT = counted_targets(batch)
        with sharing(self.model, Layout.of(batch)):
            trunk = self.head.trunk(self.forward, _inputs(batch))
        if trunk.hidden_BTH.shape[:2] != counted_BT.shape:
            raise ModelError(
                f"{self.head.name} made hidden states of shape {tuple(trunk.hidden_BTH.shape)} from labels of shape "
                f"{tuple(counted_BT.shape)}; a model that changes the number of tokens cannot be trained on them"
            )
        return trunk, counted_BT

    def _shares(self, counted_BT: Tensor, totals: Totals) -> Tensor:
        if self.normalize == "tokens":
            return counted_BT / max(totals.tokens, 1)
        if self.normalize == "examples":
            return counted_BT / counted_BT.sum(1, keepdim=True).clamp(min=1) / max(totals.examples, 1)
        if totals.weight is None:
            raise UserError("normalize=weights needs totals from an engine with normalize=weights")
        return counted_BT / totals.weight if totals.weight > 0 else counted_BT * 0.0

    def _rows(self, batch: Batch, trunk: TrunkOutput, counted_BT: Tensor, *, shares_BT: Tensor) -> Rows:
        """Gather the rows that count, with the statistics that the objective needs."""
        rows = _gathered(batch, trunk, counted_BT, shares_BT=shares_BT)
        needs, at_N = self.objective.needs, counted_BT.flatten().nonzero()[:, 0]
        base_hidden_NH = self._base_hidden(batch, at_N)
        known = {
            name: batch[name].flatten().index_select(0, at_N).to(rows.share_N.dtype)
            for name in ("base_logp", "old_logp")
            if name in batch and needs & {name, f"mean_{name}"}
        }
        with torch.no_grad():
            wanted = needs & {"base_logp", "mean_base_logp"} and "base_logp" not in known
            if wanted and base_hidden_NH is not None and self.base_head is not None:
                there = replace(rows, hidden_NH=base_hidden_NH)
                known["base_logp"] = chunked_logp(self.base_head, there, chunk_rows=self.chunk_rows)
            if "mean_logp" in needs:
                here = replace(rows, hidden_NH=rows.hidden_NH.detach())
                known["logp"] = chunked_logp(self.head, here, chunk_rows=self.chunk_rows)
            for name in ("logp", "base_logp"):
                if f"mean_{name}" in needs and name in known:
                    known[f"mean_{name}"] = means(known[name], answers(batch, counted_BT))
        missing = needs & {"base_logp", "mean_base_logp", "old_logp"} - known.keys()
        if missing:
            raise DataError(
                f"objective {type(self.objective).__name__} needs {', '.join(sorted(missing))} in every batch, shape "
                f"{tuple(counted_BT.shape)}; Engine.logp computes it. This batch holds {', '.join(sorted(batch))}"
            )
        return replace(
            rows,
            known={name: values_N.to(rows.share_N.dtype) for name, values_N in known.items() if name in needs},
            base_hidden_NH=base_hidden_NH if "base_logits" in needs else None,
        )

    def _base_hidden(self, batch: Batch, at_N: Tensor) -> Tensor | None:
        needs = self.objective.needs
        if self.base is None or self.base_head is None or not needs & OF_THE_BASE:
            return None
        if "base_logits" not in needs and "base_logp" in batch:
            return None
        # A reference with dropout would be another one at every token.
        with torch.no_grad(), evaluating(self.base), sharing(self.base, Layout.of(batch)):
            base_BTH = self.base_head.trunk(self.base, _inputs(batch)).hidden_BTH
        return base_BTH.flatten(0, 1).index_select(0, at_N - 1)

    def _router_loss(self, outputs: Mapping[str, Any]) -> Tensor | None:
        """The balancing loss of a mixture of experts, if its config asks for one (``output_router_logits``)."""
        found = outputs.get("aux_loss")
        return found if isinstance(found, Tensor) else None

    def _router_coefficient(self) -> float:
        config = self.model.config.get_text_config().to_dict()  # type: ignore[union-attr, operator]
        if "router_aux_loss_coef" not in config:
            raise ModelError(f"{self.head.name} returns a router loss, but its config has no router_aux_loss_coef")
        return float(config["router_aux_loss_coef"])


def _gathered(batch: Batch, trunk: TrunkOutput, counted_BT: Tensor, *, shares_BT: Tensor) -> Rows:
    """Return the rows that count; the one shift by a position happens here."""
    at_N = counted_BT.flatten().nonzero()[:, 0]
    hidden_NH = trunk.hidden_BTH.flatten(0, 1).index_select(0, at_N - 1)
    return Rows(
        hidden_NH=hidden_NH,
        target_N=batch["labels"].flatten().index_select(0, at_N),
        share_N=shares_BT.flatten().index_select(0, at_N).to(torch.promote_types(hidden_NH.dtype, torch.float32)),
    )


def _inputs(batch: Batch) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in NOT_FOR_THE_MODEL} | {"use_cache": False}


def _cuda_devices(batches: Sequence[Batch]) -> list[torch.device]:
    devices = {batch["input_ids"].device for batch in batches}
    return [device for device in devices if device.type == "cuda"]
