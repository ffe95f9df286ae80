"""Ways to work an expression out: one step joins two parts of a chain, until one number is left.

Three sets, each within the next:

- the *fixed* derivation: always the first step from the left that can be taken;
- the *demonstrated* ones: any two neighbors of any chain, so that independent parts come in either order and sums and
  products in any association, as long as no value is negative;
- the *valid* ones, which the verifier accepts: any two parts of a chain, named in either order where that is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from random import Random
from typing import NamedTuple

from holdfast.environments.arithmetic.expression import Chain, Tree


class Step(NamedTuple):
    """``first sign second = result``, as it is written."""

    first: int
    sign: str
    second: int
    result: int

    @property
    def is_right(self) -> bool:
        """Whether the arithmetic is right."""
        if self.sign == "*":
            return self.first * self.second == self.result
        return self.first + (self.second if self.sign == "+" else -self.second) == self.result


def fixed(tree: Tree) -> tuple[Step, ...]:
    """Return the one derivation that takes the first possible step from the left each time."""
    steps = []
    while isinstance(tree, Chain):
        step, tree = next(choices(tree))
        steps.append(step)
    return tuple(steps)


def drawn(tree: Tree, rng: Random) -> tuple[Step, ...]:
    """Return a demonstrated derivation: each step uniform among the possible ones (the derivations are not quite)."""
    steps = []
    while isinstance(tree, Chain):
        step, tree = rng.choice(list(choices(tree)))
        steps.append(step)
    return tuple(steps)


def every(tree: Tree) -> Iterator[tuple[Step, ...]]:
    """Yield every demonstrated derivation; two that read alike come twice."""
    if not isinstance(tree, Chain):
        yield ()
        return
    for step, after in choices(tree):
        for rest in every(after):
            yield (step, *rest)


def choices(chain: Chain) -> Iterator[tuple[Step, Tree]]:
    """Yield the steps that may be demonstrated next, from the left, each with what is left after it."""
    for place, (sign, part) in enumerate(chain.parts):
        if isinstance(part, Chain):
            for step, after in choices(part):
                yield step, _replaced(chain, place, (sign, after))
        if place + 1 < len(chain.parts):
            joined = _neighbors(chain, place)
            if joined is not None:
                step, sign = joined
                yield step, _replaced(chain, place, (sign, step.result), without=place + 1)


def is_valid(tree: Tree, steps: Sequence[Step], answer: int) -> bool:
    """Return whether ``steps`` are right, each is valid at its time, and nothing but ``answer`` is left.

    Numbers may occur twice in an expression, so that a step may be meant at several places: all are followed.
    """
    states = {tree}
    for step in steps:
        if not step.is_right:
            return False
        states = {after for state in states for after in _applied(state, step)}
    return answer in states


def _applied(tree: Tree, step: Step) -> Iterator[Tree]:
    if not isinstance(tree, Chain):
        return
    for place, (sign, part) in enumerate(tree.parts):
        if isinstance(part, Chain):
            for after in _applied(part, step):
                yield _replaced(tree, place, (sign, after))
    numbers = [place for place, (_, part) in enumerate(tree.parts) if isinstance(part, int)]
    for one, other in combinations(numbers, 2):
        for sign in _signs_after(tree, one, other, step):
            yield _replaced(tree, one, (sign, step.result), without=other)


def _signs_after(chain: Chain, one: int, other: int, step: Step) -> tuple[int, ...]:
    """Return the sign of the result if ``step`` joins these two parts: none if it does not, both for ``6 - 6``."""
    (left_sign, left), (right_sign, right) = chain.parts[one], chain.parts[other]
    forward, backward = ((step.first, step.second) == pair for pair in ((left, right), (right, left)))
    if chain.is_product or left_sign == right_sign:
        return (left_sign,) if step.sign == ("*" if chain.is_product else "+") and (forward or backward) else ()
    if step.sign != "-":
        return ()
    return (left_sign,) * forward + (right_sign,) * backward


def _neighbors(chain: Chain, place: int) -> tuple[Step, int] | None:
    """Return the step that joins a part and the next, with the result's sign; None if it may not be demonstrated."""
    (left_sign, left), (right_sign, right) = chain.parts[place], chain.parts[place + 1]
    if isinstance(left, Chain) or isinstance(right, Chain):
        return None
    if chain.is_product:
        return Step(left, "*", right, left * right), 1
    if left_sign == right_sign:
        return Step(left, "+", right, left + right), left_sign
    added, taken = (left, right) if left_sign > 0 else (right, left)
    return (Step(added, "-", taken, added - taken), 1) if added >= taken else None


def _replaced(chain: Chain, place: int, part: tuple[int, Tree], *, without: int | None = None) -> Tree:
    """Return the chain with another part at ``place`` and none at ``without``: a number if that is all that is left."""
    parts = list(chain.parts)
    parts[place] = part
    if without is not None:
        del parts[without]
    if len(parts) > 1:
        return Chain(chain.is_product, tuple(parts), chain.is_closed)
    sign, only = parts[0]
    return sign * only if isinstance(only, int) else only
