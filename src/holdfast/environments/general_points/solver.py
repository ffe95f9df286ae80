"""Which hands can make the target, and how: an exact search over sub-multisets in rational numbers.

Every formula over cards splits them in two parts. For up to three cards all reachable values are tabulated; for more,
the goal is carried backwards: a part ``A`` that makes ``a`` turns the goal ``g`` into at most six goals for the rest
(``g-a``, ``a-g``, ``g+a``, ``g/a``, ``a/g``, ``g*a``). Both tables are keyed by sorted values, so hands share work.

Rationals are reduced pairs (numerator, denominator > 0): three times as fast as ``Fraction`` here, and as exact.
A formula is a tree: a card value, or ``(operator, left, right)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from math import gcd
from typing import NamedTuple, TypeAlias

Tree: TypeAlias = "int | tuple[str, Tree, Tree]"
Ratio = tuple[int, int]
Values = tuple[int, ...]

# What an intermediate result costs: whole and positive steps are preferred, then the simpler operator.
_OPERATOR_COST = {"+": 10, "*": 11, "-": 12, "/": 14}
_NOT_WHOLE_COST = 1000
_NEGATIVE_COST = 400
_ZERO_COST = 100
_LARGE, _LARGE_COST = 150, 40


class Found(NamedTuple):
    """The simplest formula for one value. ``cost`` is a sum over its operators."""

    cost: int
    tree: Tree


def solvable(values: Sequence[int], target: int) -> bool:
    """Return whether some formula uses each of ``values`` once and makes ``target``."""
    return _possible(tuple(sorted(values)), (target, 1))


def solve(values: Sequence[int], target: int) -> Tree | None:
    """Return *the* solution of a multiset of values, or None if there is none.

    It depends neither on the order of ``values`` nor on chance. Of all solutions it has the lowest cost: first the
    fewest fractions and negative numbers on the way, then the simplest operators.

    Example:
        >>> render(solve([3, 3, 8, 8], 24))
        '(8/(3-(8/3)))'
    """
    found = _search(tuple(sorted(values)), (target, 1))
    return None if found is None else found.tree


def render(tree: Tree) -> str:
    """Return the formula fully bracketed and without spaces; a negative card value stands in brackets of its own."""
    if isinstance(tree, int):
        return str(tree) if tree >= 0 else f"({tree})"
    operator, left, right = tree
    return f"({render(left)}{operator}{render(right)})"


def postfix(tree: Tree) -> tuple[int | str, ...]:
    """Return the formula in reverse Polish order: numbers and operators."""
    if isinstance(tree, int):
        return (tree,)
    operator, left, right = tree
    return (*postfix(left), *postfix(right), operator)


def steps(tree: Tree) -> list[str]:
    """Return the intermediate results in order of computation: ``["3*4=12", "12+2=14", ...]``."""
    lines: list[str] = []

    def walk(node: Tree) -> Ratio:
        if isinstance(node, int):
            return (node, 1)
        operator, left, right = node
        a, b = walk(left), walk(right)
        result = apply(operator, a, b)
        lines.append(f"{_operand(a)}{operator}{_operand(b)}={_plain(result)}")
        return result

    walk(tree)
    return lines


def _plain(ratio: Ratio) -> str:
    return str(ratio[0]) if ratio[1] == 1 else f"{ratio[0]}/{ratio[1]}"


def _operand(ratio: Ratio) -> str:
    return str(ratio[0]) if ratio[1] == 1 and ratio[0] >= 0 else f"({_plain(ratio)})"


def _ratio(numerator: int, denominator: int) -> Ratio:
    if denominator == 1:
        return (numerator, 1)
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    divisor = gcd(numerator, denominator)
    return (numerator // divisor, denominator // divisor)


def apply(operator: str, a: Ratio, b: Ratio) -> Ratio:
    """Return ``a operator b`` (``b`` not 0 for a division)."""
    (an, ad), (bn, bd) = a, b
    if operator == "+":
        return _ratio(an * bd + bn * ad, ad * bd)
    if operator == "-":
        return _ratio(an * bd - bn * ad, ad * bd)
    if operator == "*":
        return _ratio(an * bn, ad * bd)
    return _ratio(an * bd, ad * bn)


def _step_cost(operator: str, result: Ratio) -> int:
    numerator, denominator = result
    cost = _OPERATOR_COST[operator]
    if denominator != 1:
        cost += _NOT_WHOLE_COST
    if numerator < 0:
        cost += _NEGATIVE_COST
    elif numerator == 0:
        cost += _ZERO_COST
    elif numerator > _LARGE * denominator:
        cost += _LARGE_COST
    return cost


@lru_cache(maxsize=1 << 14)
def splits_in_two(values: Values) -> tuple[tuple[Values, Values], ...]:
    """Return the distinct ways to part sorted ``values`` in two, the smaller part first."""
    pairs: dict[tuple[Values, Values], None] = {}
    places = range(len(values))
    for size in range(1, len(values) // 2 + 1):
        for chosen in combinations(places, size):
            part = tuple(values[k] for k in chosen)
            rest = tuple(values[k] for k in places if k not in chosen)
            if len(part) < len(rest) or part <= rest:
                pairs[part, rest] = None
    return tuple(pairs)


@lru_cache(maxsize=1 << 14)
def _reach(values: Values) -> dict[Ratio, Found]:
    """Return every value that up to three cards can make, each with its simplest formula."""
    if len(values) == 1:
        return {(values[0], 1): Found(0, values[0])}
    table: dict[Ratio, Found] = {}
    for part, rest in splits_in_two(values):
        for a, (a_cost, a_tree) in _reach(part).items():
            for b, (b_cost, b_tree) in _reach(rest).items():
                for operator, swapped in _BOTH_WAYS:
                    first, second = (b, a) if swapped else (a, b)
                    if operator == "/" and second[0] == 0:
                        continue
                    result = apply(operator, first, second)
                    cost = a_cost + b_cost + _step_cost(operator, result)
                    known = table.get(result)
                    if known is None or cost < known.cost:
                        left, right = (b_tree, a_tree) if swapped else (a_tree, b_tree)
                        table[result] = Found(cost, _node(operator, left, right))
    return table


# (operator, whether the larger part stands first); + and * need one order only.
_BOTH_WAYS = (("+", True), ("*", True), ("-", False), ("-", True), ("/", False), ("/", True))


def _node(operator: str, left: Tree, right: Tree) -> Tree:
    # A lone card stands before a bracket, so that equal formulas are written in one way.
    if operator in "+*" and not isinstance(left, int) and isinstance(right, int):
        left, right = right, left
    return (operator, left, right)


def rest_goals(a: Ratio, goal: Ratio) -> Iterator[tuple[Ratio, str, bool]]:
    """Yield (b, operator, whether a stands first) for every b with ``a operator b == goal`` or ``b operator a``."""
    (an, ad), (gn, gd) = a, goal
    yield _ratio(gn * ad - an * gd, gd * ad), "+", True
    yield _ratio(an * gd - gn * ad, gd * ad), "-", True
    yield _ratio(gn * ad + an * gd, gd * ad), "-", False
    if an:
        yield _ratio(gn * ad, gd * an), "*", True
        yield _ratio(gn * an, gd * ad), "/", False
        if gn:
            yield _ratio(an * gd, ad * gn), "/", True


@lru_cache(maxsize=1 << 18)
def _possible(values: Values, goal: Ratio) -> bool:
    if len(values) <= 3:
        return goal in _reach(values)
    for part, rest in reversed(splits_in_two(values)):  # even parts first: both are tables, so a hit is cheap
        for a in _reach(part):
            if a[0] == 0 and goal[0] == 0:
                return True  # 0 times whatever the rest makes
            if any(_possible(rest, b) for b, _, _ in rest_goals(a, goal)):
                return True
    return False


@lru_cache(maxsize=1 << 16)
def _search(values: Values, goal: Ratio) -> Found | None:
    if len(values) <= 3:
        return _reach(values).get(goal)
    best: Found | None = None
    for part, rest in splits_in_two(values):
        for a, (a_cost, a_tree) in _reach(part).items():
            for b, operator, a_first in rest_goals(a, goal):
                found = _search(rest, b)
                if found is None:
                    continue
                cost = a_cost + found.cost + _step_cost(operator, goal)
                if best is None or cost < best.cost:
                    left, right = (a_tree, found.tree) if a_first else (found.tree, a_tree)
                    best = Found(cost, _node(operator, left, right))
            if best is None and a[0] == 0 and goal[0] == 0:
                total = _sum_of(rest)
                best = Found(a_cost + 100 * len(rest), ("*", a_tree, total))
    return best


def _sum_of(values: Values) -> Tree:
    tree: Tree = values[0]
    for value in values[1:]:
        tree = ("+", tree, value)
    return tree
