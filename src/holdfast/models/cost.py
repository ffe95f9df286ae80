"""FLOPs of training, counted matrix product by matrix product.

A product of an (m, k) with a (k, n) matrix takes 2·m·k·n FLOPs forward. Backward it takes as many again for each
operand that needs a gradient: for the weight only if it is trainable, for the activation only if it depends on a
trainable weight. So everything above the lowest trainable weight pays for input gradients, and freezing the weights
below saves them there. Attention's two products over the full T × T square count by the same rule. Lookups,
elementwise work, the optimizer, and whatever is computed a second time (gradient checkpointing, flash attention's
backward) do not count.

How it is counted: the model's own forward runs on *fake* tensors, which have shapes but no data, and each product that
comes by is written down together with which operands need a gradient; autograd knows. So any architecture is counted as
it is computed: experts that are not routed to, cross-attention without images, frozen and adapted weights. Runs at a
few lengths give the polynomial in T.

Shapes: ``B`` rows, ``T`` tokens a row (padding included), ``R`` rows of hidden states that meet the output head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from holdfast.errors import ModelError
from holdfast.models.compute import replaced_parameters
from holdfast.models.matrix_products import Products

IGNORED = -100
PASSES = ("forward", "input_gradient", "weight_gradient")


@dataclass(frozen=True)
class Curve:
    """FLOPs of one row as a polynomial of its length: ``quadratic · T² + linear · T + constant``."""

    quadratic: Fraction
    linear: Fraction
    constant: Fraction

    def at(self, length: int) -> int:
        """Return the FLOPs of one row of ``length`` tokens."""
        return round(self.quadratic * length * length + self.linear * length + self.constant)


@dataclass(frozen=True)
class Cost:
    """What a model costs with a given set of trainable weights.

    Attributes:
        forward, input_gradient, weight_gradient: FLOPs of one row of T tokens, all but the output head.
        head_forward, head_input_gradient, head_weight_gradient: FLOPs of one row of hidden states in the head.
        active_weights: N of 6·N·D: weights of matrix products that act on a token, the head among them; routed
            experts count as many times as a token visits them, an embedding table (looked up) does not.
        active_trainable: The trainable ones among them: N_trainable.
        exact: Whether the polynomial held at a further length. State-space models that pad T to whole chunks do not
            fit one; they are exact at whole chunks and estimated between.
    """

    forward: Curve
    input_gradient: Curve
    weight_gradient: Curve
    head_forward: int
    head_input_gradient: int
    head_weight_gradient: int
    active_weights: int
    active_trainable: int
    exact: bool

    def step_flops(self, shape: tuple[int, int], head_rows: int) -> int:
        """Return the FLOPs of forward and backward of one micro-batch.

        Args:
            shape: (B, T) as computed, padding included.
            head_rows: R, rows that meet the head: the target tokens in our engine, B·T in a plain trainer.
        """
        rows, length = shape
        body = self.forward.at(length) + self.input_gradient.at(length) + self.weight_gradient.at(length)
        head = self.head_forward + self.head_input_gradient + self.head_weight_gradient
        return rows * body + head_rows * head

    def forward_flops(self, shape: tuple[int, int], head_rows: int) -> int:
        """Return the FLOPs of a forward pass alone: what evaluation by scoring costs."""
        return shape[0] * self.forward.at(shape[1]) + head_rows * self.head_forward

    def spent(self, batches: Sequence[Mapping[str, Tensor]]) -> dict[str, int]:
        """Return what one optimizer step over these micro-batches spends, by the names of `train.budget.Spent`.

        Args:
            batches: Each with ``input_ids`` (B, T) and unshifted ``labels`` (B, T), -100 where nothing is learned.
        """
        total: Counter[str] = Counter(steps=1, flops=0, flops_6nd=0, flops_trainable=0)
        for batch in batches:
            rows, length = batch["input_ids"].shape
            targets = int((batch["labels"][:, 1:] != IGNORED).sum())
            total["flops"] += self.step_flops((rows, length), targets)
            total["flops_6nd"] += 6 * self.active_weights * rows * length
            total["flops_trainable"] += 6 * self.active_trainable * rows * length
            total["tokens"] += rows * length
            total["target_tokens"] += targets
            total["examples"] += rows
        return dict(total)


def cost(model: Any, trainable: Collection[str]) -> Cost:
    """Count what ``model`` costs a text token when ``trainable`` are the weights that learn.

    Takes a fraction of a second to a few seconds, no memory and no accelerator; the model may be on the ``meta``
    device. It is left as it was.

    Args:
        model: A causal language or image-text model of Transformers, adapters included.
        trainable: Names of ``model.named_parameters()``.

    Raises:
        ModelError: a name is not a parameter, the model has no output head, or its forward depends on data so that it
            cannot run on shapes alone.

    Example::

        one = cost(model, names)
        one.step_flops((8, 512), head_rows=900)
    """
    unit = _chunk(model)
    tallies = {
        length: _tally(model, trainable, length) for length in (unit, 2 * unit, 3 * unit, 5 * unit, 2 * unit + 3)
    }
    curves = {kind: _through({n: tallies[n].body[kind] for n in (unit, 2 * unit, 3 * unit)}) for kind in PASSES}
    exact = all(curves[kind].at(length) == tally.body[kind] for length, tally in tallies.items() for kind in PASSES)
    head = {kind: tallies[unit].head[kind] // unit for kind in PASSES}
    return Cost(
        forward=curves["forward"],
        input_gradient=curves["input_gradient"],
        weight_gradient=curves["weight_gradient"],
        head_forward=head["forward"],
        head_input_gradient=head["input_gradient"],
        head_weight_gradient=head["weight_gradient"],
        active_weights=tallies[unit].of_weights // (2 * unit) + head["forward"] // 2,
        active_trainable=tallies[unit].of_trainable // (2 * unit) + head["weight_gradient"] // 2,
        exact=exact,
    )


def _tally(model: Any, trainable: Collection[str], length: int) -> Products:
    named = dict(model.named_parameters(remove_duplicate=False))
    unknown = sorted(set(trainable) - named.keys())
    if unknown:
        raise ModelError(f"{len(unknown)} names are not parameters of the model (first: {unknown[0]!r})")
    learning = {id(named[name]) for name in trainable}
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output head; only language models can be counted")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    weights: dict[int, str] = {}

    def without_data(name: str, parameter: Tensor) -> Tensor:
        with fake:
            dtype = torch.float32 if parameter.is_floating_point() else parameter.dtype
            empty = torch.empty(parameter.shape, dtype=dtype, device="cpu")
        shape = nn.Parameter(empty, requires_grad=id(parameter) in learning)
        weights[shape.untyped_storage()._cdata] = name
        return shape

    with _evaluating(model), replaced_parameters(model, without_data), _fake_buffers(model, fake):
        products = Products(weights.keys())
        with fake, torch.enable_grad(), products, _watching(head, products):
            try:
                model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False)
            except (RuntimeError, NotImplementedError, TypeError) as fault:
                words = str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
                raise ModelError(f"the FLOPs of {type(model).__name__} cannot be counted on shapes: {words}") from fault
    return products


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _fake_buffers(model: nn.Module, fake: FakeTensorMode) -> Iterator[None]:
    slots = []
    try:
        for module in model.modules():
            for key, buffer in list(module._buffers.items()):
                if buffer is not None:
                    slots.append((module, key, buffer))
                    with fake:
                        module._buffers[key] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")
        yield
    finally:
        for module, key, buffer in slots:
            module._buffers[key] = buffer


@contextmanager
def _watching(head: nn.Module, products: Products) -> Iterator[None]:
    def enter(*_: object) -> None:
        products.in_head = True

    def leave(*_: object) -> None:
        products.in_head = False

    handles = head.register_forward_pre_hook(enter), head.register_forward_hook(leave)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _through(points: Mapping[int, int]) -> Curve:
    """Return the parabola through three points, exactly (Lagrange)."""
    (a, fa), (b, fb), (c, fc) = ((Fraction(x), Fraction(y)) for x, y in points.items())
    da, db, dc = fa / ((a - b) * (a - c)), fb / ((b - a) * (b - c)), fc / ((c - a) * (c - b))
    return Curve(da + db + dc, -(da * (b + c) + db * (a + c) + dc * (a + b)), da * b * c + db * a * c + dc * a * b)


def _chunk(model: Any) -> int:
    """Return a length at whole multiples of which the cost is a polynomial: a state-space model's chunk, else 8."""
    return int(vars(model.config).get("chunk_size") or 8)
