"""Rows through an output head in bounded chunks: loss, statistics and exact gradients, no (N, V) tensor ever.

The weight of a row depends on that row alone, so it is known as soon as the chunk's logits are, and the gradient of the
head's input and parameters is finished before the next chunk begins: three matrix products a row, nothing recomputed.

With ``c_n`` the row's share of the normalization and ``w_n`` its (constant) weight::

    loss = Σ_n c_n · w_n · l_n          d loss / d logits_n = c_n · w_n · (softmax(logits_n) - onehot(target_n))

the latter for cross-entropy; an objective that sees the vocabulary is differentiated by autograd, chunk by chunk.

Shapes: ``N`` all rows with a target, ``R`` rows of one chunk, ``H`` hidden width, ``V`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from holdfast.errors import UserError
from holdfast.objectives.base import Objective, TokenStats
from holdfast.objectives.head import OutputHead

LOGIT_BUDGET = 256 * 2**20
"""Bytes of float32 logits in one chunk. About twice as much is alive at the peak."""

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
        base_logp_N, old_logp_N: Optional statistics (see `TokenStats`).
        base_hidden_NH: Input of the base model's head, for objectives that need its logits.
    """

    hidden_NH: Tensor
    target_N: Tensor
    share_N: Tensor
    base_logp_N: Tensor | None = None
    old_logp_N: Tensor | None = None
    base_hidden_NH: Tensor | None = None

    def part(self, start: int, stop: int) -> Rows:
        """Return rows ``start`` to ``stop``."""

        def cut(values_N: Tensor | None) -> Tensor | None:
            return None if values_N is None else values_N[start:stop]

        return Rows(
            self.hidden_NH[start:stop],
            self.target_N[start:stop],
            self.share_N[start:stop],
            cut(self.base_logp_N),
            cut(self.old_logp_N),
            cut(self.base_hidden_NH),
        )


class Sums(NamedTuple):
    """Sums over rows, float32 scalars without gradient: of -log p, w · l, w, [w < 0.1] and, if needed, entropy."""

    nll: Tensor
    weighted: Tensor
    weight: Tensor
    light: Tensor


class ChunkLoss(NamedTuple):
    """What `chunked_loss` returns: the loss Σ c·w·l (a scalar with graph) and the sums beside it."""

    loss: Tensor
    sums: Sums


def rows_per_chunk(vocabulary: int, chunk_rows: int | None) -> int:
    """Return ``chunk_rows``, or as many rows as the budget of logits holds (at least 1,024)."""
    return chunk_rows if chunk_rows is not None else max(LEAST_CHUNK, LOGIT_BUDGET // (4 * vocabulary))


def chunked_loss(
    head: OutputHead, rows: Rows, *, objective: Objective, chunk_rows: int | None, base_head: OutputHead | None = None
) -> ChunkLoss:
    """Return Σ c·w·l over ``rows`` with gradients for ``rows.hidden_NH`` and the head's trainable parameters.

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
    loss, *sums = _OnePass.apply(job, rows.hidden_NH, *head.parameters())  # type: ignore[no-untyped-call]
    return ChunkLoss(loss, Sums(*sums))


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
        gradients = _Gradients(job.head, hidden_NH, params, wanted=wanted)
        totals_5 = torch.zeros(5, dtype=_statistics_dtype(hidden_NH), device=hidden_NH.device)
        for start, stop in job.spans():
            totals_5 += _chunk(job, job.rows.part(start, stop), gradients, start)
        ctx.save_for_backward(*gradients.all())
        loss, *sums = (total.clone() for total in totals_5)
        ctx.mark_non_differentiable(*sums)
        return loss, *sums

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
        nothing = _Gradients(job.head, hidden_NH, params, wanted=(False,) * (1 + len(params)))
        logp_N = torch.empty(len(hidden_NH), dtype=_statistics_dtype(hidden_NH), device=hidden_NH.device)
        for start, stop in job.spans():
            logits_RV = job.head.transform.apply(nothing.head_output(hidden_NH[start:stop]))
            logp_RV = torch.log_softmax(logits_RV, dim=-1)
            logp_N[start:stop] = logp_RV.gather(1, job.rows.target_N[start:stop, None])[:, 0]
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
        gradients = _Gradients(job.head, hidden_NH, ctx.params, wanted=ctx.needs_input_grad[1:])
        enabled, dtype = ctx.autocast
        with torch.autocast(ctx.device, dtype=dtype, enabled=enabled):
            for start, stop in job.spans():
                z_RV = gradients.head_output(hidden_NH[start:stop])
                logits_RV = job.head.transform.apply(z_RV.detach())
                upstream_R1, target_R1 = upstream_N[start:stop, None], job.rows.target_N[start:stop, None]
                d_RV = torch.softmax(logits_RV, dim=-1).mul_(-upstream_R1).scatter_add_(1, target_R1, upstream_R1)
                gradients.add(start, hidden_NH[start:stop], z_RV, job.head.transform.pull_back_(d_RV, logits_RV))
        return None, *gradients.all()


class _Gradients:
    """Collects the gradients of the head's input and of its parameters over chunks."""

    def __init__(self, head: OutputHead, hidden_NH: Tensor, params: tuple[Tensor, ...], *, wanted: tuple[bool, ...]):
        self.head = head
        self.any = any(wanted)
        self.hidden_NH = torch.empty_like(hidden_NH) if wanted[0] else None
        self.params = params
        # Chunks add up in float32 even where the head is half precision.
        self.sums = [
            torch.zeros_like(p, dtype=_statistics_dtype(p)) if w else None
            for p, w in zip(params, wanted[1:], strict=True)
        ]
        self.traced = self.any and not head.is_linear
        self.leaf_RH: Tensor | None = None

    def all(self) -> tuple[Tensor | None, ...]:
        sums = (s if s is None else s.to(p.dtype) for s, p in zip(self.sums, self.params, strict=True))
        return self.hidden_NH, *sums

    def head_output(self, hidden_RH: Tensor) -> Tensor:
        """Run the head on one chunk, traced by autograd unless its gradients are written down here."""
        if not self.traced:
            with torch.no_grad():
                return self.head.module(hidden_RH)  # type: ignore[no-any-return]
        with torch.enable_grad():
            self.leaf_RH = hidden_RH.detach().requires_grad_(self.hidden_NH is not None)
            return self.head.module(self.leaf_RH)  # type: ignore[no-any-return]

    def add(self, start: int, hidden_RH: Tensor, z_RV: Tensor, d_z_RV: Tensor) -> None:
        """Add the chunk that begins at row ``start``, given d loss / d z of the very z that `head_output` gave."""
        d_z_RV = d_z_RV.to(z_RV.dtype)
        if self.traced:
            self._add_traced(start, z_RV, d_z_RV)
        else:
            self._add_linear(start, hidden_RH, d_z_RV)

    def _add_traced(self, start: int, z_RV: Tensor, d_z_RV: Tensor) -> None:
        assert self.leaf_RH is not None
        inputs = [p for p, total in zip(self.params, self.sums, strict=True) if total is not None]
        if self.hidden_NH is not None:
            inputs.append(self.leaf_RH)
        found = list(torch.autograd.grad(z_RV, inputs, d_z_RV, allow_unused=True))
        if self.hidden_NH is not None:
            self.hidden_NH[start : start + len(d_z_RV)] = found.pop()
        totals = [total for total in self.sums if total is not None]
        for total, part in zip(totals, found, strict=True):
            if part is not None:
                total += part

    def _add_linear(self, start: int, hidden_RH: Tensor, d_z_RV: Tensor) -> None:
        linear = self.head.module
        assert isinstance(linear, nn.Linear)
        # The products run in the dtype the head ran in (bf16 under autocast); autocast must not choose again.
        with torch.autocast(d_z_RV.device.type, enabled=False):
            if self.hidden_NH is not None:
                self.hidden_NH[start : start + len(d_z_RV)] = d_z_RV @ linear.weight.to(d_z_RV.dtype)
            for param, total in zip(self.params, self.sums, strict=True):
                if total is None:
                    continue
                if param is linear.bias:
                    total += d_z_RV.sum(0)
                elif total.dtype == d_z_RV.dtype:
                    total.addmm_(d_z_RV.T, hidden_RH.to(d_z_RV.dtype))
                else:
                    total += d_z_RV.T @ hidden_RH.to(d_z_RV.dtype)


def _chunk(job: _Job, rows: Rows, gradients: _Gradients, start: int) -> Tensor:
    """Return Σ c·w·l and the four `Sums` of one chunk, shape (5,); add its gradients."""
    objective, head = job.objective, job.head
    z_RV = gradients.head_output(rows.hidden_NH)
    logits_RV = head.transform.apply(z_RV.detach())
    logp_RV = torch.log_softmax(logits_RV, dim=-1)
    stats = TokenStats(
        logp_N=logp_RV.gather(1, rows.target_N[:, None])[:, 0],
        entropy_N=torch.special.entr(logp_RV.exp()).sum(-1) if "entropy" in objective.needs else None,
        base_logp_N=rows.base_logp_N,
        old_logp_N=rows.old_logp_N,
    )
    weight_R = _weights(objective, stats)
    d_row_R = rows.share_N * weight_R
    if objective.uses_vocabulary:
        loss_R, d_RV = _vocabulary_loss(job, rows, logits_RV, d_row_R, differentiate=gradients.any)
    else:
        loss_R, d_RV = -stats.logp_N, None
        if gradients.any:
            d_RV = logp_RV.exp_().mul_(d_row_R[:, None])
            d_RV.scatter_add_(1, rows.target_N[:, None], -d_row_R[:, None])
    if d_RV is not None:
        gradients.add(start, rows.hidden_NH, z_RV, head.transform.pull_back_(d_RV, logits_RV))
    # A token of weight 0 counts 0 even where its loss is infinite (a masked vocabulary entry as target).
    weighted_R = torch.where(weight_R == 0, 0, weight_R * loss_R)
    light_R = (weight_R < LIGHT_WEIGHT).to(weight_R.dtype)
    return torch.stack([v.sum() for v in (rows.share_N * weighted_R, -stats.logp_N, weighted_R, weight_R, light_R)])


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


def _vocabulary_loss(
    job: _Job, rows: Rows, logits_RV: Tensor, d_row_R: Tensor, *, differentiate: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the objective's own row losses and, if asked, d loss / d logits."""
    base_logits_RV = None
    if job.base_head is not None and rows.base_hidden_NH is not None:
        base_logits_RV = job.base_head.transform.apply(job.base_head.module(rows.base_hidden_NH))
    with torch.set_grad_enabled(differentiate):
        leaf_RV = logits_RV.detach().requires_grad_(differentiate)
        loss_R = job.objective.row_loss(leaf_RV, rows.target_N, base_logits_RV)
    if not differentiate:
        return loss_R, None
    (d_RV,) = torch.autograd.grad(loss_R, leaf_RV, d_row_R)
    return loss_R.detach(), d_RV


def _statistics_dtype(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)
