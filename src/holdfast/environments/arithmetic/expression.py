"""What an expression means under a rule: a tree of chains, in which every derivation is a walk.

A chain is a sum of signed parts, or a product: ``2 + 3 - 4`` is one chain of three parts, which may be taken in any
association. What stands in brackets is a chain of its own, and so is a sum that is subtracted.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from holdfast.environments.arithmetic.rules import find_rule
from holdfast.errors import UserError

MAX_VALUE = 99
"""No step of any derivation of a dealt problem leaves 0 … ``MAX_VALUE``."""

MAX_TEXT = 100


class Chain(NamedTuple):
    """A sum or product of two parts or more.

    Attributes:
        is_product: Whether the parts are multiplied, else added.
        parts: (sign, what). Signs are 1 or -1, in a product always 1; the first part's is 1.
        is_closed: Whether it stands in brackets, so that it is no part of the chain around it.
    """

    is_product: bool
    parts: tuple[tuple[int, Chain | int], ...]
    is_closed: bool = False


Tree = Chain | int


@lru_cache(maxsize=65_536)
def parse(expression: str, rule: str) -> Tree:
    """Return what ``expression`` means under ``rule``.

    Raises:
        UnknownName: no such rule.
        UserError: it is no expression of numbers, ``+ - *`` and brackets.

    Example:
        >>> parse("2 + 3 - 4", "times_first").parts
        ((1, 2), (1, 3), (-1, 4))
    """
    tokens = _TOKEN.findall(expression) if len(expression) <= MAX_TEXT else []
    if not tokens or "".join(tokens) != expression.replace(" ", ""):
        raise UserError(f"{expression[:MAX_TEXT]!r} is no expression of whole numbers, + - * and brackets")
    try:
        return tree_of(tokens, rule)
    except IndexError as fault:
        raise UserError(f"{expression!r} lacks a number, a sign or a bracket") from fault


_TOKEN = re.compile(r"[0-9]+|[-+*()]")


def tree_of(pieces: list[str], rule: str) -> Tree:
    """Return what a list of numbers, signs and brackets means under ``rule``: the shunting-yard algorithm.

    Raises:
        IndexError: something is missing.
    """
    order = find_rule(rule)
    values: list[Tree] = []
    signs: list[str] = []

    def combine() -> None:
        right, left = values.pop(), values.pop()
        values.append(_combined(signs.pop(), left, right))

    for piece in pieces:
        if piece == "(":
            signs.append(piece)
        elif piece == ")":
            while signs[-1] != "(":
                combine()
            signs.pop()
            values.append(_closed(values.pop()))
        elif piece in "+-*":
            while signs and signs[-1] != "(" and order.binds(signs[-1]) >= order.binds(piece):
                combine()
            signs.append(piece)
        else:
            values.append(int(piece))
    while signs:
        combine()
    if len(values) != 1:
        raise IndexError("a sign is missing")
    return values[0]


def value_of(tree: Tree) -> int | None:
    """Return the value of ``tree``, or None if some derivation of it leaves 0 … ``MAX_VALUE``.

    Every association of a sum stays in these bounds if the running sums from the left do not fall below 0 and the
    added parts alone do not exceed the maximum (then parts that are no neighbors may be joined as well); every
    association of a product does if its factors but 0 do.
    """
    if isinstance(tree, int):
        return tree if tree <= MAX_VALUE else None
    value, largest = int(tree.is_product), int(tree.is_product)
    for sign, part in tree.parts:
        own = value_of(part)
        if own is None:
            return None
        if tree.is_product:
            value, largest = value * own, largest * max(own, 1)
        else:
            value, largest = value + sign * own, largest + max(sign, 0) * own
        if value < 0 or largest > MAX_VALUE:
            return None
    return value


def _combined(sign: str, left: Tree, right: Tree) -> Chain:
    if sign == "*":
        return Chain(True, _parts(left, is_product=True) + _parts(right, is_product=True))
    added = _parts(right, is_product=False) if sign == "+" else ((-1, right),)
    return Chain(False, _parts(left, is_product=False) + added)


def _parts(tree: Tree, *, is_product: bool) -> tuple[tuple[int, Tree], ...]:
    if isinstance(tree, Chain) and tree.is_product is is_product and not tree.is_closed:
        return tree.parts
    return ((1, tree),)


def _closed(tree: Tree) -> Tree:
    return tree._replace(is_closed=True) if isinstance(tree, Chain) else tree
