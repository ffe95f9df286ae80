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

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from holdfast.errors import ModelError
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
