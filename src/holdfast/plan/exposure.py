"""Whether a base model has met a rule in its pre-training, as far as its ``exposure.json`` tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from holdfast.environments.general_points.rules import Rule, find_rule

Exposure = Literal["known to the base", "never seen", "unknown"]
KNOWN: Exposure = "known to the base"
NEVER: Exposure = "never seen"
UNKNOWN: Exposure = "unknown"


def exposure_label(
    exposure: Mapping[str, Any] | None,
    environment: str | None,
    rule: str | None,
    *,
    options: Mapping[str, Any] | None = None,
) -> Exposure:
    """Return whether a base has seen ``rule``.

    Args:
        exposure: Content of the base's ``exposure.json``; None if it has none.
        environment: Name of the environment; None for a file of the user's, whose exposure nobody knows.
        rule: Name of the rule.
        options: Options of the environment; a ``target`` of its own is a rule of its own.

    Example:
        >>> facts = {"lowest": 1, "highest": 13, "held_out_rules": ["faces_as_5_7_9"]}
        >>> seen = {"environments": {"general_points": facts}}
        >>> exposure_label(seen, "general_points", "faces_as_5_7_9")
        'never seen'
        >>> exposure_label(seen, "general_points", "faces_as_11")
        'known to the base'
    """
    if exposure is None or environment is None or rule is None:
        return UNKNOWN
    seen = exposure.get("environments", {})
    if environment not in seen:
        return NEVER
    facts = seen[environment]
    named = {name for key in ("rules", "frequent_rules", "fixed") for name in _names(facts.get(key))}
    if rule in _names(facts.get("held_out_rules")):
        return NEVER
    if environment == "general_points":
        return _card_rule(facts, find_rule(rule), named, target=(options or {}).get("target"))
    return KNOWN if rule in named else UNKNOWN


def _card_rule(facts: Mapping[str, Any], rule: Rule, named: set[str], *, target: int | None) -> Exposure:
    """Random maps of J, Q and K were seen but for the held-out ones; any other change of the rules was not."""
    if rule.name in named:
        return KNOWN
    asked = rule.target if rule.target is not None else target
    if asked is not None and asked not in facts.get("targets", [asked if rule.target is None else None]):
        return NEVER
    if rule.ace != 1 or rule.reads_suits:
        return NEVER
    if rule.faces in {find_rule(name).faces for name in _names(facts.get("held_out_rules"))}:
        return NEVER
    lowest, highest = facts.get("lowest", min(rule.faces)), facts.get("highest", max(rule.faces))
    return KNOWN if all(lowest <= value <= highest for value in rule.faces) else NEVER


def _names(value: Any) -> tuple[str, ...]:
    """The names in a list or in the keys of a mapping; prose names nothing."""
    return tuple(map(str, value)) if isinstance(value, list | Mapping) else ()
