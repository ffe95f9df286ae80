"""The matrix products of a forward pass, one by one, and what each will cost backward.

A dispatch mode sees every operation after autograd has recorded it, so an operand's ``requires_grad`` tells whether
the backward pass will compute a gradient for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Product(NamedTuple):
    """One product of two matrices (or stacks of them): its FLOPs, 2·m·k·n in all, and its two operands."""

    flops: int
    operands: tuple[Tensor, Tensor]


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, adds up each matrix product that is computed, and those that its gradients will take.

    Args:
        weights: Storages of the model's weights (``tensor.untyped_storage()._cdata``; views share it).
        idle: Those among them whose products the result does not depend on.

    Attributes:
        in_head: Set by the caller while the output head runs.
        body, head: FLOPs outside and inside the head: ``forward``, ``input_gradient``, ``weight_gradient``.
        of_weights: Forward FLOPs of the body's products with a weight; the others are attention's.
        of_trainable: Those of them whose weight is trainable.
        idle_weights: Gradient FLOPs of the body's products with an idle weight.
        idle_scores: Gradient FLOPs of its products without a weight that come after all products that are not idle.
    """

    def __init__(self, weights: Collection[int], *, idle: Collection[int] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self.in_head = False
        self.body: Counter[str] = Counter()
        self.head: Counter[str] = Counter()
        self.of_weights = 0
        self.of_trainable = 0
        self._idle = idle
        self.idle_weights = 0
        self.idle_scores = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name == "_grouped_mm":
            # Its shape check insists on dtypes and strides of a kernel; the product needs neither.
            out = args[0].new_empty(*args[0].shape[:-1], args[1].shape[-1])
        else:
            out = func(*args, **(kwargs or {}))
        for product in _products(name, args, out):
            self._note(product)
        return out

    def _note(self, product: Product) -> None:
        counter = self.head if self.in_head else self.body
        counter["forward"] += product.flops
        of_weight = [self._is_weight(operand) for operand in product.operands]
        for operand, weight in zip(product.operands, of_weight, strict=True):
            if operand.requires_grad:
                counter["weight_gradient" if weight else "input_gradient"] += product.flops
        if not self.in_head:
            self._note_idle(product, sum(operand.requires_grad for operand in product.operands) * product.flops)
        if any(of_weight) and not self.in_head:
            self.of_weights += product.flops
            learns = any(o.requires_grad and w for o, w in zip(product.operands, of_weight, strict=True))
            self.of_trainable += product.flops if learns else 0

    def _note_idle(self, product: Product, gradients: int) -> None:
        storages = {operand.untyped_storage()._cdata for operand in product.operands} & set(self._weights)
        if not storages:
            self.idle_scores += gradients
        elif storages <= set(self._idle):
            self.idle_weights += gradients
        else:
            self.idle_scores = 0

    def _is_weight(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._weights


def _products(name: str, args: tuple[Any, ...], out: Any) -> list[Product]:
    """Return the products of two matrices that an operation consists of."""
    if name.startswith("_scaled_dot_product"):
        query_BHTD, key_BHSD, value_BHSD = args[:3]
        square = 2 * math.prod(query_BHTD.shape[:-1]) * key_BHSD.shape[-2]
        # The values meet the attention weights, which need a gradient as soon as the queries or the keys do.
        weights = query_BHTD if query_BHTD.requires_grad else key_BHSD
        return [
            Product(square * query_BHTD.shape[-1], (query_BHTD, key_BHSD)),
            Product(square * value_BHSD.shape[-1], (weights, value_BHSD)),
        ]
    if name in ("mm", "bmm", "mv", "dot", "_grouped_mm", "grouped_mm_fallback"):
        left, right = args[:2]
    elif name in ("addmm", "baddbmm", "addmv", "addbmm"):
        left, right = args[1:3]
    elif name == "convolution":
        inputs, kernel = args[:2]
        transposed = bool(args[6])
        positions = math.prod((inputs if transposed else out).shape[2:]) * inputs.shape[0]
        return [Product(2 * positions * kernel.numel(), (inputs, kernel))]
    else:
        return []
    return [Product(2 * left.numel() * (right.shape[-1] if right.ndim > 1 else 1), (left, right))]
