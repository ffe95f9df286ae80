"""Counting what a model costs: its forward and backward on shapes alone, a few lengths, and a parabola through them.

No weight is read and nothing is computed: tensors have shapes, and a dispatch mode notes every matrix product
(`holdfast.models.matrix_products`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from holdfast.errors import ModelError
from holdfast.models.cost import PASSES, Cost, Curve, SharedCost
from holdfast.models.matrix_products import Products
from holdfast.models.on_shapes import KnownIntegers, lengthened, on_shapes
from holdfast.models.prefix_shapes import reaching_cache, run_two_passes

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
