"""Rows through an output head in bounded chunks: loss, statistics and exact gradients, no (N, V) tensor ever.

The weight of a row depends on that row alone, so it is known as soon as the chunk's logits are, and the gradient of the
head's input and parameters is finished before the next chunk begins: three matrix products a row, nothing recomputed.

With ``c_n`` the row's share of the normalization and ``w_n`` its (constant) weight::

    loss = Σ_n c_n · w_n · l_n          d loss / d logits_n = c_n · w_n · (softmax(logits_n) - onehot(target_n))

the latter for cross-entropy; an objective that sees the vocabulary is differentiated by autograd, chunk by chunk. Rows
that weigh 0 skip the two products of the way back.

Shapes: ``N`` all rows with a target, ``R`` rows of one chunk, ``H`` hidden width, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from holdfast.errors import UserError
from holdfast.objectives.base import Objective, TokenStats
from holdfast.objectives.head import OutputHead
from holdfast.objectives.head_gradients import HeadGradients
from holdfast.objectives.softmax import cross_entropy_gradient_, log_softmax_, statistics_dtype
from holdfast.objectives.spread import GradientSpread, gradient_spread

LOGIT_BUDGET = 256 * 2**20
"""Bytes of float32 logits in one chunk; softmax and its gradient reuse them in place. Twice as much is alive where the
objective sees the vocabulary, the model caps its logits, or the head is not a plain ``nn.Linear``."""

LEAST_CHUNK = 1024
"""Rows of a chunk, at least: every chunk streams the head's weight and its gradient through memory again."""

LIGHT_WEIGHT = 0.1
"""A token that weighs less than this hardly takes part; the share of such tokens is reported."""


@dataclass(frozen=True)
class Rows:
    """The rows of a micro-batch that carry a target.

    Attributes:
        hidden_NH: The head's input.
        target_N: Token to be predicted.
        share_N: c_n, float32: what the row counts for in the normalization.
        known: Optional statistics by name (``base_logp``, ``old_logp``, …; see `TokenStats`), each (N,).
        base_hidden_NH: Input of the base model's head, for objectives that need its logits.
    """

    hidden_NH: Tensor
    target_N: Tensor
    share_N: Tensor
    known: Mapping[str, Tensor] = field(default_factory=dict)
    base_hidden_NH: Tensor | None = None

    def part(self, start: int, stop: int) -> Rows:
        """Return rows ``start`` to ``stop``."""
        return Rows(
            self.hidden_NH[start:stop],
            self.target_N[start:stop],
            self.share_N[start:stop],
            {name: values_N[start:stop] for name, values_N in self.known.items()},
            None if self.base_hidden_NH is None else self.base_hidden_NH[start:stop],
        )


class Sums(NamedTuple):
    """Sums over rows, float32 scalars without gradient.

    Attributes:
        nll: Of -log p.
        weighted: Of w · l.
        weight: Of w.
        light: Of [w < 0.1].
        none: Of [w = 0].
        entropy: Of the entropy of the model's distribution, in nats.
        penalty: Of what rows add whatever they weigh.
    """

    nll: Tensor
    weighted: Tensor
    weight: Tensor
    light: Tensor
    none: Tensor
    entropy: Tensor
    penalty: Tensor


class ChunkLoss(NamedTuple):
    """What `chunked_loss` returns: the loss Σ c·(w·l + penalty), a scalar with graph, and the sums beside it."""

    loss: Tensor
    sums: Sums
    spread: GradientSpread


def rows_per_chunk(vocabulary: int, chunk_rows: int | None) -> int:
    """Return ``chunk_rows``, or as many rows as the budget of logits holds (at least 1,024)."""
    return chunk_rows if chunk_rows is not None else max(LEAST_CHUNK, LOGIT_BUDGET // (4 * vocabulary))


def chunked_loss(
    head: OutputHead, rows: Rows, *, objective: Objective, chunk_rows: int | None, base_head: OutputHead | None = None
) -> ChunkLoss:
    """Return Σ c·(w·l + penalty) over rows, with gradients for ``rows.hidden_NH`` and the head's trainable parameters.

    Without rows the loss is 0, still with a graph, so that a rank or micro-batch without targets takes part in every
    collective operation.

    Args:
        head: A head whose `OutputHead.trunk` made ``rows.hidden_NH``.
        rows: See `Rows`.
        objective: Gives weights and, if it uses the vocabulary, row losses.
        chunk_rows: Rows of a chunk; None for the default budget.
        base_head: Head of the base model, with ``rows.base_hidden_NH``.

    Raises:
        UserError: the objective's weight does not have one value a row.
    """
    job = _Job(head, rows, objective, chunk_rows, base_head, differentiate=torch.is_grad_enabled())
    loss, count_K, squares_K, sum_KH, *sums = _OnePass.apply(  # type: ignore[no-untyped-call]
        job, rows.hidden_NH, *head.parameters()
    )
    return ChunkLoss(loss, Sums(*sums), GradientSpread(count_K, squares_K, sum_KH))


def chunked_logp(head: OutputHead, rows: Rows, *, chunk_rows: int | None) -> Tensor:
    """Return log p of each row's target, float32, shape (N,), for any loss that is made of them (DPO, PPO, a KL).

    What flows back is known only later, so the logits are computed once more on the way back: four products a row.
    ``rows.share_N`` is not read.
    """
    job = _Job(head, rows, Objective(), chunk_rows, None, differentiate=torch.is_grad_enabled())
    logp_N: Tensor = _Recompute.apply(job, rows.hidden_NH, *head.parameters())  # type: ignore[no-untyped-call]
    return logp_N


@dataclass(frozen=True)
class _Job:
    """One pass over rows; a plain bundle, since autograd functions take tensors or opaque objects."""

    head: OutputHead
    rows: Rows
    objective: Objective
    chunk_rows: int | None
    base_head: OutputHead | None
    differentiate: bool

    def spans(self) -> list[tuple[int, int]]:
        count = len(self.rows.target_N)
        size = rows_per_chunk(self.head.vocabulary, self.chunk_rows)
        return [(start, min(start + size, count)) for start in range(0, count, size)]


class _OnePass(torch.autograd.Function):
    """Computes the gradients on the way forward and hands them over on the way back."""

    @staticmethod
    def forward(ctx: Any, job: _Job, hidden_NH: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        wanted = ctx.needs_input_grad[1:] if job.differentiate else (False,) * (1 + len(params))
        gradients = HeadGradients(job.head, hidden_NH, params, wanted=wanted)
        totals_8 = torch.zeros(8, dtype=statistics_dtype(hidden_NH), device=hidden_NH.device)
        logp_N = torch.zeros(len(hidden_NH), dtype=totals_8.dtype, device=hidden_NH.device)
        for start, stop in job.spans():
            told_8R = _chunk(job, job.rows.part(start, stop), gradients, start)
            totals_8 += told_8R.sum(1)
            logp_N[start:stop] = -told_8R[1]
        width = hidden_NH.shape[1]
        spread = gradient_spread(gradients.hidden_NH, logp_N, share_N=job.rows.share_N, width=width)
        ctx.save_for_backward(*gradients.all())
        loss, *sums = (total.clone() for total in totals_8)
        ctx.mark_non_differentiable(*spread, *sums)
        return loss, *spread, *sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # Handing the buffers on as they are spares a copy of the head's gradient in the usual case.
        as_is = upstream.item() == 1.0
        return None, *(g if g is None or as_is else g * upstream.to(g.dtype) for g in ctx.saved_tensors)


class _Recompute(torch.autograd.Function):
    """Log-probabilities of targets; the way back computes the logits of each chunk again."""

    @staticmethod
    def forward(ctx: Any, job: _Job, hidden_NH: Tensor, *params: Tensor) -> Tensor:
        device = hidden_NH.device.type
        ctx.job, ctx.device, ctx.params = job, device, params
        ctx.autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        ctx.save_for_backward(hidden_NH)
        nothing = HeadGradients(job.head, hidden_NH, params, wanted=(False,) * (1 + len(params)))
        logp_N = torch.empty(len(hidden_NH), dtype=statistics_dtype(hidden_NH), device=hidden_NH.device)
        for start, stop in job.spans():
            logits_RV = job.head.transform.apply(nothing.head_output(hidden_NH[start:stop]))
            logp_N[start:stop], _ = log_softmax_(logits_RV, job.rows.target_N[start:stop])
        return logp_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor | None, ...]:
        (hidden_NH,) = ctx.saved_tensors
        job: _Job = ctx.job
        if [id(p) for p in job.head.parameters()] != [id(p) for p in ctx.params]:
            raise UserError(
                f"the output head of {job.head.name} holds other parameters than when its log-probabilities were "
                f"computed; call backward() inside the same models.compute context"
            )
        gradients = HeadGradients(job.head, hidden_NH, ctx.params, wanted=ctx.needs_input_grad[1:])
        enabled, dtype = ctx.autocast
        with torch.autocast(ctx.device, dtype=dtype, enabled=enabled):
            for start, stop in job.spans():
                z_RV = gradients.head_output(hidden_NH[start:stop])
                logits_RV = job.head.transform.apply(z_RV.detach())
                target_R = job.rows.target_N[start:stop]
                d_RV = logits_RV.clone() if _needed_later(job.head, gradients, z_RV, logits_RV) else logits_RV
                log_softmax_(d_RV, target_R)
                cross_entropy_gradient_(d_RV, target_R, -upstream_N[start:stop])
                gradients.add(
                    slice(start, stop), hidden_NH[start:stop], z_RV, job.head.transform.pull_back_(d_RV, logits_RV)
                )
        return None, *gradients.all()


def _chunk(job: _Job, rows: Rows, gradients: HeadGradients, start: int) -> Tensor:
    """Return c·(w·l + penalty) of each row of a chunk and what the seven `Sums` add up, (8, R); add its gradients."""
    objective, head = job.objective, job.head
    z_RV = gradients.head_output(rows.hidden_NH)
    logits_RV = head.transform.apply(z_RV.detach())
    autograd = objective.uses_vocabulary or objective.penalizes
    logp_RV = logits_RV.clone() if autograd or _needed_later(head, gradients, z_RV, logits_RV) else logits_RV
    logp_R, entropy_R = log_softmax_(logp_RV, rows.target_N)
    weight_R = _weights(objective, _stats(objective, rows, logp_RV, logp_R, entropy_R))
    loss_R, penalty_R, kept = -logp_R, torch.zeros_like(logp_R), None
    d_RV: Tensor | None = None
    if gradients.any and not objective.uses_vocabulary:
        compact = gradients.compacts and not autograd and head.transform.softcap is None
        kept = _kept(weight_R) if compact else None
        d_RV = logp_RV if kept is None else logp_RV[kept]
        cross_entropy_gradient_(
            d_RV, *(v if kept is None else v[kept] for v in (rows.target_N, rows.share_N * weight_R))
        )
    del logp_RV
    if autograd:
        own = _by_autograd(job, rows, logits_RV, weight_R, differentiate=gradients.any)
        loss_R, penalty_R = loss_R if own.loss_R is None else own.loss_R, own.penalty_R
        d_RV = own.gradient_RV if d_RV is None or own.gradient_RV is None else d_RV.add_(own.gradient_RV)
    if d_RV is not None:
        hidden_RH = rows.hidden_NH if kept is None else rows.hidden_NH[kept]
        at = slice(start, start + len(weight_R)) if kept is None else kept + start
        gradients.add(at, hidden_RH, z_RV, head.transform.pull_back_(d_RV, logits_RV))
    # A token of weight 0 counts 0 even where its loss is infinite (a masked vocabulary entry as target).
    weighted_R = torch.where(weight_R == 0, 0, weight_R * loss_R)
    light_R = (weight_R < LIGHT_WEIGHT).to(weight_R.dtype)
    counted_R = rows.share_N * (weighted_R + penalty_R)
    none_R = (weight_R == 0).to(weight_R.dtype)
    told = (counted_R, -logp_R, weighted_R, weight_R, light_R, none_R, entropy_R, penalty_R)
    return torch.stack(told)


def _stats(objective: Objective, rows: Rows, logp_RV: Tensor, logp_R: Tensor, entropy_R: Tensor) -> TokenStats:
    top = min(objective.top, logp_RV.shape[-1])
    return TokenStats(
        logp_R,
        entropy_N=entropy_R,
        top_logp_NK=logp_RV.topk(top).values if "top_logp" in objective.needs else None,
        **{f"{name}_N": values_R for name, values_R in rows.known.items()},
    )


def _kept(weight_R: Tensor) -> Tensor | None:
    """Return which rows weigh anything, or None if all do."""
    kept = weight_R.nonzero()[:, 0]
    return None if len(kept) == len(weight_R) else kept


def _needed_later(head: OutputHead, gradients: HeadGradients, z_RV: Tensor, logits_RV: Tensor) -> bool:
    """Whether the logits must outlive the softmax: for the soft cap's derivative, or as the traced head's output."""
    is_head_output = logits_RV.data_ptr() == z_RV.data_ptr()
    return gradients.any and (head.transform.softcap is not None or (is_head_output and gradients.traced))


def _weights(objective: Objective, stats: TokenStats) -> Tensor:
    weight_R = objective.weight(stats)
    if weight_R is None:
        return torch.ones_like(stats.logp_N)
    if weight_R.shape != stats.logp_N.shape:
        raise UserError(
            f"{type(objective).__name__}.weight returned shape {tuple(weight_R.shape)} for {len(stats.logp_N)} tokens; "
            f"it must return one weight a token"
        )
    return weight_R.detach()


class _Own(NamedTuple):
    loss_R: Tensor | None
    penalty_R: Tensor
    gradient_RV: Tensor | None


def _by_autograd(job: _Job, rows: Rows, logits_RV: Tensor, weight_R: Tensor, *, differentiate: bool) -> _Own:
    """Return the objective's own row losses (None: it has none), its penalties and, if asked, d loss / d logits."""
    objective, base_logits_RV = job.objective, None
    if job.base_head is not None and rows.base_hidden_NH is not None:
        with torch.no_grad():
            base_logits_RV = job.base_head.transform.apply(job.base_head.module(rows.base_hidden_NH))
    with torch.set_grad_enabled(differentiate):
        leaf_RV = logits_RV.detach().requires_grad_(differentiate)
        total_R, loss_R, penalty_R = torch.zeros_like(weight_R), None, torch.zeros_like(weight_R)
        if objective.uses_vocabulary:
            loss_R = objective.row_loss(leaf_RV, rows.target_N, base_logits_RV)
            total_R = total_R + weight_R * loss_R
        if objective.penalizes:
            penalty_R = objective.penalty(leaf_RV, base_logits_RV)
            total_R = total_R + penalty_R
    gradient_RV = torch.autograd.grad(total_R, leaf_RV, rows.share_N)[0] if differentiate else None
    return _Own(None if loss_R is None else loss_R.detach(), penalty_R.detach(), gradient_RV)
