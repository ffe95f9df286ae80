"""The orders of operations as data: which sign binds tighter. Signs that bind alike are taken from the left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.errors import UnknownName


@dataclass(frozen=True)
class Rule:
    """An order of operations. Brackets come before everything under every rule.

    Attributes:
        name: What recipes call it.
        words: The rule in words, without a final stop: what a prompt says.
        times: How tightly ``*`` binds.
        plus: How tightly ``+`` and ``-`` bind.
    """

    name: str
    words: str
    times: int = 0
    plus: int = 0

    def binds(self, sign: str) -> int:
        """Return how tightly ``sign`` binds."""
        return self.times if sign == "*" else self.plus


_ALL = (
    Rule("times_first", "times before plus and minus", times=1),
    Rule("left_to_right", "all signs from left to right"),
    Rule("plus_first", "plus and minus before times", plus=1),
)

RULES: Mapping[str, Rule] = {rule.name: rule for rule in _ALL}
"""The rules by name; ``times_first`` is the usual one."""


def find_rule(name: str) -> Rule:
    """Return the rule called ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in RULES:
        raise UnknownName("rule", name, RULES)
    return RULES[name]
