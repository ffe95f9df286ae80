"""Inner products of the gradients of several sets of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.objectives.base import Objective
from holdfast.objectives.engine import Engine, Totals
from holdfast.objectives.targets import counted_targets
from holdfast.probes.rows import Rows
from holdfast.probes.scene import Scene


def gram(scene: Scene, parts: Sequence[Rows]) -> list[list[float]]:
    """Return ⟨g_i, g_j⟩ of the gradients of the mean NLL of each part, summed in float64.

    Args:
        scene: The gradient is taken with respect to what training changes, in the dtype of the export.
        parts: Each gives one gradient; all are in memory at a time.
    """
    with _learning(scene) as weights:
        gradients = [_gradient(scene, rows, weights) for rows in parts]
    return [[_inner(one, other) for other in gradients] for one in gradients]


def _gradient(scene: Scene, rows: Rows, weights: Sequence[nn.Parameter]) -> list[Tensor]:
    engine = Engine(scene.model, Objective())
    batches = [batch.to(scene.device).tensors() for batch in scene.batches(rows)]
    totals = _alone(batches)
    summed: list[Tensor] = []
    for batch in batches:
        with evaluating(scene.model), compute(scene.model, scene.stage.compute_dtype):
            loss = engine.loss(batch, totals).loss
            found = torch.autograd.grad(loss, list(weights), allow_unused=True)
        made = [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]
        summed = made if not summed else [a + b for a, b in zip(summed, made, strict=True)]
    return summed


def _alone(batches: Sequence[Mapping[str, Tensor]]) -> Totals:
    """Return the totals of these batches, not of all ranks': every rank takes the same rows."""
    tokens = sum(int(counted_targets(batch).sum()) for batch in batches)
    return Totals(tokens=tokens, examples=1, weight=None, batches=len(batches), ranks=1)


def _inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(one, other, strict=True))


@contextmanager
def _learning(scene: Scene) -> Iterator[list[nn.Parameter]]:
    """Inside, what training changes asks for gradients, and nothing else does; afterwards all is as it was."""
    named = dict(scene.model.named_parameters(remove_duplicate=False))
    wanted = {id(named[name]) for name in scene.stage.changing}
    before = [(weight, weight.requires_grad) for weight in scene.model.parameters()]
    try:
        for weight, _ in before:
            weight.requires_grad_(id(weight) in wanted)
        yield [weight for weight, _ in before if id(weight) in wanted]
    finally:
        for weight, asked in before:
            weight.requires_grad_(asked)
