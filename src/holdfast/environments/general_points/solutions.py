"""All solutions of a hand, counted once each: distinct up to commutativity and associativity.

A form is a number, a sum (what is added, what is subtracted) or a product (factors, divisors), flattened through
nested sums and products, its parts sorted. So ``a-(b-c)`` and ``(a+c)-b`` are one form, ``a/(b/c)`` and ``a*c/b``
too. Not merged: what is equal only by arithmetic (``a*1`` and ``a/1``) or by turning signs (``(a-b)*(c-d)`` and
``(b-a)*(d-c)``). Of n unequal cards there are 1, 6, 68 and 1,260 forms; with signs merged the last would be 1,170.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from holdfast.environments.general_points.solver import Ratio, Values, apply, rest_goals, splits_in_two


class Form(NamedTuple):
    """A formula up to commutativity and associativity.

    Attributes:
        kind: ``number``, ``sum`` or ``product``.
        first: Texts of what is added, or of the factors, sorted.
        second: Texts of what is subtracted, or of the divisors, sorted.
    """

    kind: str
    first: tuple[str, ...]
    second: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The formula with no more brackets than it needs."""
        plus, minus = ("+", "-") if self.kind == "sum" else ("*", "/")
        return plus.join(self.first) + "".join(minus + part for part in self.second)


def solutions(values: Sequence[int], target: int) -> tuple[str, ...]:
    """Return every distinct solution, sorted by its text.

    Example:
        >>> solutions([3, 3, 8, 8], 24)
        ('8/(3-8/3)',)
    """
    forms = _forms_making(tuple(sorted(values)), (target, 1))
    return tuple(sorted(form.text for form in forms))


def difficulty(values: Sequence[int], target: int) -> int:
    """Return the number of distinct solutions: fewer is harder, 0 is unsolvable."""
    return len(_forms_making(tuple(sorted(values)), (target, 1)))


@lru_cache(maxsize=1 << 12)
def all_forms(values: Values) -> Mapping[Ratio, frozenset[Form]]:
    """Return every form over sorted ``values`` by what it makes. Grows fast: meant for up to four cards."""
    if len(values) == 1:
        text = str(values[0]) if values[0] >= 0 else f"({values[0]})"
        return {(values[0], 1): frozenset([Form("number", (text,))])}
    table: dict[Ratio, set[Form]] = defaultdict(set)
    for part, rest in splits_in_two(values):
        for a, a_forms in all_forms(part).items():
            for b, b_forms in all_forms(rest).items():
                for operator in "+-*/":
                    if operator != "/" or b[0] != 0:
                        table[apply(operator, a, b)] |= _joined(operator, a_forms, b_forms)
                table[apply("-", b, a)] |= _joined("-", b_forms, a_forms)
                if a[0] != 0:
                    table[apply("/", b, a)] |= _joined("/", b_forms, a_forms)
    return {ratio: frozenset(forms) for ratio, forms in table.items()}


@lru_cache(maxsize=1 << 15)
def _forms_making(values: Values, goal: Ratio) -> frozenset[Form]:
    if len(values) <= 3:
        return all_forms(values).get(goal, frozenset())
    found: set[Form] = set()
    for part, rest in splits_in_two(values):
        for a, a_forms in all_forms(part).items():
            for b, operator, a_first in rest_goals(a, goal):
                b_forms = _forms_making(rest, b)
                if b_forms:
                    found |= _joined(operator, a_forms, b_forms) if a_first else _joined(operator, b_forms, a_forms)
            if a[0] == 0 and goal[0] == 0:
                for b, b_forms in all_forms(rest).items():
                    found |= _joined("*", a_forms, b_forms)
                    if b[0] != 0:
                        found |= _joined("/", a_forms, b_forms)
    return frozenset(found)


def _joined(operator: str, left: frozenset[Form], right: frozenset[Form]) -> set[Form]:
    return {_join(operator, a, b) for a in left for b in right}


def _join(operator: str, a: Form, b: Form) -> Form:
    kind = "sum" if operator in "+-" else "product"
    a_first, a_second = _parts(kind, a)
    b_first, b_second = _parts(kind, b)
    if operator in "-/":
        b_first, b_second = b_second, b_first
    return Form(kind, tuple(sorted(a_first + b_first)), tuple(sorted(a_second + b_second)))


def _parts(kind: str, form: Form) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if form.kind == kind:
        return form.first, form.second
    return ((f"({form.text})",) if kind == "product" and form.kind == "sum" else (form.text,)), ()
