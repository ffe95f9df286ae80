"""From a YAML file and the assignments of a command line to plain values, with a safe loader."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import Fault, RecipeError


def read(path: str | Path) -> dict[str, Any]:
    """Read a YAML file with the safe loader; numbers such as ``1e-5`` are numbers.

    Raises:
        RecipeError: there is no such file, it is not YAML, or it is not a mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        near = difflib.get_close_matches(file.name, [entry.name for entry in file.parent.glob("*.y*ml")], n=1)
        question = f'Did you mean "{file.with_name(near[0])}"?' if near else ""
        raise RecipeError(str(path), [Fault("", "there is no such file", question)]) from fault
    except OSError as fault:
        raise RecipeError(str(path), [Fault("", f"cannot be read: {fault.strerror}")]) from fault
    except UnicodeDecodeError as fault:
        raise RecipeError(str(path), [Fault("", f"is not UTF-8 text: {fault.reason} at byte {fault.start}")]) from fault
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> dict[str, Any]:
    """Parse YAML text into a mapping.

    Raises:
        RecipeError: not YAML, or not a mapping.
    """
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of the safe loader)
    except yaml.YAMLError as fault:
        raise RecipeError(source, [Fault("", f"not YAML: {fault}")]) from fault
    if not isinstance(values, dict):
        raise RecipeError(
            source, [Fault("", f"a recipe is a mapping of keys to values, this is {type(values).__name__}")]
        )
    return values


def override(values: Mapping[str, Any], assignments: Sequence[str], *, source: str) -> dict[str, Any]:
    """Apply ``key=value`` assignments; dots reach into blocks, values are YAML.

    Example:
        >>> override({"budget": {"steps": 10}}, ["budget.steps=20", "seed=1"], source="x")
        {'budget': {'steps': 20}, 'seed': 1}

    Raises:
        RecipeError: an assignment is not of the form ``key=value``, or reaches into something that is not a block.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for key, value in assigned(assignments, source=source).items():
        block = result
        *path, last = key.split(".")
        for name in path:
            block = block.setdefault(name, {})
            if not isinstance(block, dict):
                raise RecipeError(source, [Fault(key, f"{name} is a value, not a block")])
        block[last] = value
    return result


def assigned(assignments: Sequence[str], *, source: str) -> dict[str, Any]:
    """Return ``key=value`` assignments as a mapping from dotted keys to YAML values; the last of a key wins.

    Example:
        >>> assigned(["budget.steps=20", "seed=1"], source="x")
        {'budget.steps': 20, 'seed': 1}

    Raises:
        RecipeError: an assignment is not of the form ``key=value``, or its value is no YAML.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise RecipeError(source, [Fault(assignment, "is not of the form key=value")])
        key = key.strip().replace("-", "_")
        found.pop(key, None)
        try:
            found[key] = yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of the safe loader)
        except yaml.YAMLError as fault:
            raise RecipeError(source, [Fault(key, f"not a YAML value: {text!r}")]) from fault
    return found


_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, reading ``1e-5`` as a number and refusing a key that is written twice.

    What a merge key (``<<: *anchor``) brings may be written again: the written one wins.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key_node, _ in node.value:
            key = (str(key_node.tag), str(key_node.value))
            if isinstance(key_node, yaml.ScalarNode) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return node


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", ""))


_Loader.add_constructor("!exponent", _float)
_Loader.add_implicit_resolver("!exponent", _EXPONENT, list("-+0123456789"))
_TAKEN = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {  # a run called 2026-01-31 is called that, and is no date; `on` is a word
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _TAKEN]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
# As in YAML 1.2. A switch takes yes, no, on and off all the same: the schema reads the words.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
