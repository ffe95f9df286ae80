"""A penalty on what training does to the base's strongest directions: a term of the loss, beside any objective.

For each matrix W that learns, with D = W − W_0 and the first k singular vectors U and V of the base's W_0::

    core    ‖Uᵀ D V‖²
    union   ‖D‖² − ‖(I − P) D (I − Q)‖²  =  ‖Uᵀ D‖² + ‖D V‖² − ‖Uᵀ D V‖² ,      P = U Uᵀ ,  Q = V Vᵀ

The term is ``strength`` times their sum over matrices; with ``normalize`` times the mean of each over ‖W_0‖², which is
a squared relative update and does not grow with the model. Where k reaches the smaller side both are ‖D‖² (L2-SP).
Their gradients, 2 P D Q and 2 (P D + D Q − P D Q), take products with k columns only, and of adapters (D = B A)
products with B and A alone. What the union penalizes is what `holdfast.heal.union` takes back, with directions from
the same cache.

D is the difference of the masters in float32, whatever the model computes in: of bfloat16 casts most of a small update
would be rounded away. W_0 is kept in the narrowest dtype that holds it exactly.

Reference: RPSFT, arXiv 2605.10973 (``core``, k 768, strength 1, not normalized; its targets Uᵀ W_0 V are kept in
float16). ``union`` is ours: ``core`` leaves the blocks P D (I − Q) and (I − P) D Q free, by which the base's strongest
directions turn.

Shapes: ``M`` rows, ``N`` columns, ``K`` directions, ``R`` rank of an adapter; a stack of experts leads with ``E``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from holdfast.errors import ModelError, UserError, did_you_mean
from holdfast.models.adapters import Change, adapters, change_of
from holdfast.models.sharding import is_sharded
from holdfast.objectives.penalty_cost import flops
from holdfast.recipe import Penalty
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.counts import check_share, count_of

SHARDED = "penalty: a model that is sharded (FSDP) has no penalty yet; run it in one process or in DDP"


class Blocks(NamedTuple):
    """The blocks of an update that touch the base's directions: Uᵀ D, D V, and Uᵀ D V, which is part of both."""

    left_KN: Tensor
    right_MK: Tensor
    inner_KK: Tensor


class Update(Protocol):
    """D = W − W_0 of one matrix or of a stack, with graph, as its weights are now."""

    def whole(self) -> Tensor:
        """Return D."""

    def inner(self, left_MK: Tensor, right_NK: Tensor) -> Tensor:
        """Return leftᵀ D right."""

    def blocks(self, left_MK: Tensor, right_NK: Tensor) -> Blocks:
        """Return all three blocks."""


@dataclass(frozen=True)
class Dense:
    """The update of a weight that learns itself."""

    weight_MN: Tensor
    base_MN: Tensor

    def whole(self) -> Tensor:
        """See `Update.whole`."""
        weight_MN = _wide(self.weight_MN)
        return weight_MN - self.base_MN.to(weight_MN.dtype)

    def inner(self, left_MK: Tensor, right_NK: Tensor) -> Tensor:
        """See `Update.inner`; the larger side is projected first."""
        if self._tall:
            return left_MK.mT @ self.whole() @ right_NK
        return left_MK.mT @ (self.whole() @ right_NK)

    def blocks(self, left_MK: Tensor, right_NK: Tensor) -> Blocks:
        """See `Update.blocks`."""
        change_MN = self.whole()
        left_KN, right_MK = left_MK.mT @ change_MN, change_MN @ right_NK
        return Blocks(left_KN, right_MK, left_KN @ right_NK if self._tall else left_MK.mT @ right_MK)

    @property
    def _tall(self) -> bool:
        return self.weight_MN.shape[-2] >= self.weight_MN.shape[-1]


@dataclass(frozen=True)
class LowRank:
    """The update that an adapter is; the whole of it is made only where no directions are chosen."""

    change: Change

    def whole(self) -> Tensor:
        """See `Update.whole`."""
        b_MR, a_RN = self._factors()
        return b_MR @ a_RN

    def inner(self, left_MK: Tensor, right_NK: Tensor) -> Tensor:
        """See `Update.inner`."""
        b_MR, a_RN = self._factors()
        return (left_MK.mT @ b_MR) @ (a_RN @ right_NK)

    def blocks(self, left_MK: Tensor, right_NK: Tensor) -> Blocks:
        """See `Update.blocks`."""
        b_MR, a_RN = self._factors()
        b_KR, a_RK = left_MK.mT @ b_MR, a_RN @ right_NK
        return Blocks(b_KR @ a_RN, b_MR @ a_RK, b_KR @ a_RK)

    def _factors(self) -> tuple[Tensor, Tensor]:
        b_MR, a_RN = self.change.factors()
        return _wide(b_MR), _wide(a_RN)


class Sides(NamedTuple):
    """The base's first directions: orthonormal columns, of the dtype that products run in."""

    left_MK: Tensor
    right_NK: Tensor


def core(update: Update, sides: Sides | None) -> Tensor:
    """Return ‖Uᵀ D V‖² of each matrix, differentiable, a scalar or (E,); without sides ‖D‖²."""
    return _squares(update.whole() if sides is None else update.inner(*sides))


def union(update: Update, sides: Sides | None) -> Tensor:
    """Return ‖D‖² − ‖(I − P) D (I − Q)‖² of each matrix, differentiable, a scalar or (E,); without sides ‖D‖²."""
    if sides is None:
        return _squares(update.whole())
    left_KN, right_MK, inner_KK = update.blocks(*sides)
    return _squares(left_KN) + _squares(right_MK) - _squares(inner_KK)


class Term(NamedTuple):
    """One tensor's part: ``sides`` is None where k reaches the smaller side; ``share`` is what its energy counts."""

    name: str
    update: Update
    sides: Sides | None
    share: Tensor


@dataclass(frozen=True)
class SubspacePenalty:
    """The penalty of one model, against the weights that it had when this was made (`penalty_on`).

    Attributes:
        asked: Its figures.
        terms: One a tensor.
        step_flops: Of the matrix products that a step spends on it; see `holdfast.objectives.penalty_cost.flops`.
    """

    asked: Penalty
    terms: tuple[Term, ...]
    step_flops: int

    def __call__(self) -> Tensor:
        """Return the penalized sum (or mean) before its strength, a scalar with graph; 0 at the base.

        The strength multiplies it: ``(loss + penalty.asked.strength * penalty()).backward()``, once a step.
        """
        energy = union if self.asked.name == "union" else core
        parts = [(term.share * energy(term.update, term.sides)).sum() for term in self.terms]
        return torch.stack(parts).sum()


def penalty_on(model: nn.Module, names: Sequence[str], asked: Penalty, *, cache: FactorCache) -> SubspacePenalty:
    """Take down a model's matrices as they are now, and return the penalty on what becomes of them.

    Args:
        model: On its device, masters set, adapters in place; not inside `holdfast.models.compute.compute`.
        names: Of matrices or stacks of experts, as in the plain model.
        asked: What is penalized, and how strongly.
        cache: Of singular systems: those that are not in it are computed, in float64.

    Raises:
        UserError: k is no share and no number of directions, or the model is spread over devices (FSDP).
        ModelError: a name is none of the model's, or a matrix is not finite, or 0 where it is to be divided by.

    Example::

        penalty = penalty_on(model, names, Penalty(name="union", strength=100.0), cache=FactorCache(default_folder()))
    """
    try:
        check_share("penalty.k", asked.k)
    except ValueError as fault:
        raise UserError(str(fault)) from fault
    if is_sharded(model):
        raise UserError(SHARDED)
    learned = {adapter.weight_name: adapter for adapter in adapters(model)}
    named = dict(model.named_parameters(remove_duplicate=False))
    known = {*named, *learned}
    taken: list[_Taken] = []
    for name in names:
        if name not in known:
            raise ModelError(f"penalty: no such parameter: {name!r}. {did_you_mean(name, known)[:300]}")
        if name in learned:
            change = change_of(learned[name])
            base = learned[name].layer.base_layer.weight.detach()
            taken.append(_Taken(name, LowRank(change), base, change.a_RI.dtype, len(change.a_RI)))
        else:
            base = _narrowest(named[name].detach())
            taken.append(_Taken(name, Dense(named[name], base), base, named[name].dtype))
    count = sum(one.base_MN.shape[:-2].numel() for one in taken)
    terms = tuple(_term(one, asked, count=count, cache=cache) for one in taken)
    return SubspacePenalty(asked, terms, sum(flops(asked, one.base_MN.shape, adapter=one.rank) for one in taken))


class _Taken(NamedTuple):
    """A tensor of the base, what becomes of it, the dtype of what learns, and the rank of its adapter if it has one."""

    name: str
    update: Update
    base_MN: Tensor
    learns_in: torch.dtype
    rank: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """In which products run."""
        return torch.promote_types(self.learns_in, torch.float32)


def _term(one: _Taken, asked: Penalty, *, count: int, cache: FactorCache) -> Term:
    whole = count_of(asked.k, min(one.base_MN.shape[-2:])) >= min(one.base_MN.shape[-2:])
    sides = None if whole else _sides(one, asked, cache=cache)
    share = torch.ones(one.base_MN.shape[:-2], dtype=one.dtype, device=one.base_MN.device)
    if asked.normalize:
        energy = _squares(one.base_MN.to(one.dtype))
        if not bool((energy > 0).all()):
            raise ModelError(
                f"penalty: {one.name} holds a matrix that is 0 in the base, so nothing is relative to it. Write "
                "normalize: false, or leave it out by `on`. Nothing was trained."
            )
        share = share / energy / count
    return Term(one.name, one.update, sides, share)


def _sides(one: _Taken, asked: Penalty, *, cache: FactorCache) -> Sides:
    base = one.base_MN.cpu() if one.base_MN.device.type == "mps" else one.base_MN  # which knows no float64
    dtype = torch.promote_types(base.dtype, torch.float32)
    k = count_of(asked.k, min(base.shape[-2:]))
    found = []
    for matrix_MN in base.unbind() if base.ndim == 3 else (base,):
        try:
            basis = cache.factors(matrix_MN).basis(matrix_MN, slice(0, k), dtype=dtype)
        except ValueError as fault:
            raise ModelError(f"penalty: {one.name}: {fault}. Nothing was trained.") from fault
        found.append((basis.left_MK, basis.right_NK))
    left, right = (torch.stack(side) if base.ndim == 3 else side[0] for side in zip(*found, strict=True))
    device = one.base_MN.device
    return Sides(left.contiguous().to(device, one.dtype), right.contiguous().to(device, one.dtype))


def _squares(tensor: Tensor) -> Tensor:
    return tensor.square().sum((-2, -1))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _narrowest(weight: Tensor) -> Tensor:
    """Return a copy in the narrowest dtype that holds every value: of masters that of their files, as a rule."""
    for dtype in (torch.bfloat16, torch.float16):
        copy = weight.to(dtype)
        if weight.dtype != dtype and torch.equal(copy.to(weight.dtype), weight):
            return copy
    return weight.clone()
