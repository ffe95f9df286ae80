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
few lengths give the polynomial in T. Of rows with pictures, one stands for all: its vision tower and whatever else its
pictures cost is the polynomial's constant, what its tokens pay to attend to them lies in the linear part.

Shapes: ``B`` rows, ``T`` tokens a row (padding included), ``R`` rows of hidden states that meet the output head.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.errors import ModelError
from holdfast.models.matrix_products import Products
from holdfast.models.on_shapes import KnownIntegers, lengthened, on_shapes
from holdfast.models.prefix_shapes import reaching_cache, run_two_passes
from holdfast.models.shared_prefix import Layout

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
        return self.between(length, length)

    def between(self, tokens: int, keys: int) -> int:
        """Return the FLOPs of one row of ``tokens`` that attend to ``keys`` (themselves among them)."""
        return round(self.quadratic * tokens * keys + self.linear * tokens + self.constant)


@dataclass(frozen=True)
class SharedCost:
    """What differs where rows compute the prefix that they share once (`holdfast.models.shared_prefix`).

    Attributes:
        idle: Backward FLOPs of one prefix that are not spent: of its last block only keys and values are used.
        again: FLOPs, forward and backward, that each row spends for each token of its prefix, beyond attending to it:
            0 where keys and values are cached; where a latent is cached, it is expanded again.
    """

    idle: Curve
    again: Fraction


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
        shared: What changes where rows share prefixes; None where that was not counted.
        picture_uses: Of a row with pictures, what in 6·N·D stands for its pictures: weights times the positions
            (patches of an image) that each acts on. 0 for text.
        picture_uses_trainable: The same for trainable weights.
        beside: Forward passes over the same rows that come with every step: of a base model, of an old policy.
        head_again: FLOPs a row of hidden states of a further pass through the head alone.
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
    shared: SharedCost | None = None
    picture_uses: int = 0
    picture_uses_trainable: int = 0
    beside: tuple[Cost, ...] = ()
    head_again: int = 0

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

    def generation_flops(self, prompt: int, new: int) -> int:
        """Return the FLOPs of answering one prompt with a cache: ``new`` tokens, each attending to all before it.

        What is computed for neighbors' padding, or again after a batch is refilled, is not counted.
        """
        steps = max(new - 1, 0)  # the last token is written, not read
        keys = steps * prompt + steps * (steps + 1) // 2
        written = round(self.forward.quadratic * keys + self.forward.linear * steps)
        return self.forward.at(prompt) + written + new * self.head_forward

    def shared_flops(self, layout: Layout, head_rows: int) -> int:
        """Return the FLOPs of forward and backward of one micro-batch whose prefixes are computed once.

        Raises:
            ModelError: the cost was counted without ``shared``.
        """
        if self.shared is None:
            raise ModelError("shared prefixes are to be priced, but the cost was counted without shared=True")
        (g, p), (b, s) = layout.prefixes, layout.branches
        passes = (self.forward, self.input_gradient, self.weight_gradient)
        prefix = sum(curve.at(p) for curve in passes) - self.shared.idle.at(p)
        branch = sum(curve.between(s, p + s) for curve in passes) + round(self.shared.again * p)
        head = self.head_forward + self.head_input_gradient + self.head_weight_gradient
        return g * prefix + b * branch + head_rows * head

    def spent(self, batches: Sequence[Mapping[str, Tensor]]) -> dict[str, int]:
        """Return what one optimizer step over these micro-batches spends, by the names of `train.budget.Spent`.

        Args:
            batches: Each with ``input_ids`` (B, T) and unshifted ``labels`` (B, T), -100 where nothing is learned; and
                the keys of `holdfast.models.shared_prefix` where its prefixes are computed once.
        """
        total: Counter[str] = Counter(steps=1, flops=0, flops_6nd=0, flops_trainable=0)
        for batch in batches:
            rows, length = batch["input_ids"].shape
            targets = int((batch["labels"][:, 1:] != IGNORED).sum())
            layout = Layout.of(batch)
            tokens = rows * length if layout is None else layout.computed
            if layout is None:
                total["flops"] += self.step_flops((rows, length), targets)
            else:
                total["flops"] += self.shared_flops(layout, targets)
            total["flops_6nd"] += 6 * (self.active_weights * tokens + self.picture_uses * rows)
            total["flops_trainable"] += 6 * (self.active_trainable * tokens + self.picture_uses_trainable * rows)
            total["tokens"] += tokens
            total["target_tokens"] += targets
            total["examples"] += rows
            total["flops"] += targets * self.head_again
        for forward in self.beside:
            more = forward.spent(batches)
            total["flops"] += more["flops"]
            total["flops_6nd"] += more["flops_6nd"] // 3  # forward alone is 2 N of 6 N
        return dict(total)


REMEMBERED = 32
"""Structures whose costs are kept: a run asks for its own several times, first for the plan."""
_counted: dict[Hashable, Cost] = {}


def cost(
    model: Any, trainable: Collection[str], *, shared: bool = False, example: Mapping[str, Tensor] | None = None
) -> Cost:
    """Count what ``model`` costs a token, and a row's pictures, when ``trainable`` are the weights that learn.

    Takes a fraction of a second to a few seconds, no memory and no accelerator; the model may be on the ``meta``
    device. It is left as it was.

    Args:
        model: A causal language or image-text model of Transformers, adapters included.
        trainable: Names of ``model.named_parameters()``.
        shared: Whether batches with shared prefixes are to be priced too.
        example: Inputs of one row with pictures, as `holdfast.data.batches.Batch.tensors` gives them, of shape (1, T);
            all rows are priced as having pictures of these sizes. None: rows are text.

    Raises:
        ModelError: a name is not a parameter, the model has no output head, or its forward depends on data so that it
            cannot run on shapes alone.

    Example::

        one = cost(model, names)
        one.step_flops((8, 512), head_rows=900)
    """
    if example is not None:  # whose sizes would have to be part of the key
        return _cost(model, trainable, shared=shared, example=example)
    key = _structure(model, trainable, shared=shared)
    if key not in _counted:
        while len(_counted) >= REMEMBERED:
            del _counted[next(iter(_counted))]
        _counted[key] = _cost(model, trainable, shared=shared)
    return _counted[key]


def _structure(model: Any, trainable: Collection[str], *, shared: bool) -> Hashable:
    """Return all that the counts depend on: a plan's skeleton and the loaded model have it in common."""
    config = {name: value for name, value in model.config.to_dict().items() if name not in ("dtype", "_name_or_path")}
    modules = tuple((path, type(module).__qualname__) for path, module in model.named_modules())
    weights = tuple((name, tuple(weight.shape)) for name, weight in model.named_parameters())
    way = str(vars(model.config).get("_attn_implementation_internal"))
    return (
        json.dumps(config, sort_keys=True, default=str),
        way,
        modules,
        weights,
        frozenset(trainable),
        shared,
    )


def _cost(model: Any, trainable: Collection[str], *, shared: bool, example: Mapping[str, Tensor] | None = None) -> Cost:
    unit = _chunk(model)
    # Pictures stand in the prompt, so a row is no shorter than it; beyond, whole chunks as for text.
    start = 0 if example is None else -(-example["input_ids"].shape[1] // unit) * unit
    one, two, three = start + unit, start + 2 * unit, start + 3 * unit
    tallies = {n: _tally(model, trainable, n, example) for n in (one, two, three, start + 5 * unit, two + 3)}
    curves = {kind: _through({n: tallies[n].body[kind] for n in (one, two, three)}) for kind in PASSES}
    exact = all(curves[kind].at(length) == tally.body[kind] for length, tally in tallies.items() for kind in PASSES)
    head = {kind: tallies[one].head[kind] // one for kind in PASSES}
    uses = _uses(*((n, tallies[n].of_weights) for n in (one, two)), pictured=example is not None)
    learning = _uses(*((n, tallies[n].of_trainable) for n in (one, two)), pictured=example is not None)
    counted = Cost(
        forward=curves["forward"],
        input_gradient=curves["input_gradient"],
        weight_gradient=curves["weight_gradient"],
        head_forward=head["forward"],
        head_input_gradient=head["input_gradient"],
        head_weight_gradient=head["weight_gradient"],
        active_weights=uses.of_token + head["forward"] // 2,
        active_trainable=learning.of_token + head["weight_gradient"] // 2,
        exact=exact,
        picture_uses=uses.of_pictures,
        picture_uses_trainable=learning.of_pictures,
    )
    return replace(counted, shared=_shared(model, trainable, counted, unit)) if shared else counted


class _Uses(NamedTuple):
    of_token: int
    of_pictures: int


def _uses(short: tuple[int, int], long: tuple[int, int], *, pictured: bool) -> _Uses:
    """Return how many weights act on a token, and how often weights act on a row's pictures, from FLOPs at two T."""
    (length, flops), (longer, more) = short, long
    if not pictured:
        return _Uses(flops // (2 * length), 0)
    of_token = (more - flops) // (2 * (longer - length))
    return _Uses(of_token, flops // 2 - of_token * length)


def _shared(model: Any, trainable: Collection[str], plain: Cost, unit: int) -> SharedCost:
    """Count both passes at one length each: what is idle or repeated is proportional to tokens, scores to squares."""
    keys, tokens = 2 * unit, unit
    floating = [name for name, parameter in model.named_parameters() if parameter.is_floating_point()]
    with on_shapes(model, floating) as weights, Products(weights):
        idle = set(weights.values()) - {weights[cdata] for cdata in reaching_cache(model, tokens) if cdata in weights}
    with on_shapes(model, trainable) as weights:
        prefix = Products(weights, idle={cdata for cdata, name in weights.items() if name in idle})
        branch = Products(weights)
        run_two_passes(model, (keys, tokens), prefix, branch)
    expected = sum(
        c.between(tokens, keys + tokens) for c in (plain.forward, plain.input_gradient, plain.weight_gradient)
    )
    return SharedCost(
        idle=Curve(Fraction(prefix.idle_scores, keys * keys), Fraction(prefix.idle_weights, keys), Fraction(0)),
        again=Fraction(sum(branch.body.values()) - expected, keys),
    )


def _tally(
    model: Any, trainable: Collection[str], length: int, example: Mapping[str, Tensor] | None = None
) -> Products:
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no output head; only language models can be counted")
    inputs = {} if example is None else lengthened(example, length - example["input_ids"].shape[1])
    with on_shapes(model, trainable) as weights:
        products = Products(weights)
        if example is None:
            with products, _watching(head, products):
                model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=False)
        else:
            integers = KnownIntegers(next(model.parameters()).fake_mode)
            with integers, products, _watching(head, products):
                model(**{name: integers.known(value) for name, value in inputs.items()}, use_cache=False)
    return products


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
