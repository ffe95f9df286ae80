"""Judge a whole recipe in a moment: every fault of its schema and of the members it names, before a model loads.

Imports no torch, so that a faulty recipe is refused in well under a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from holdfast import members
from holdfast.environments import ENVIRONMENTS
from holdfast.environments.base import SPLITS
from holdfast.errors import Fault, ModelNotFound, RecipeError, UnknownName, UserError
from holdfast.evaluate.file_problems import OPTIONS, file_faults
from holdfast.evaluate.math_suites import MATH_SUITES, find_suite
from holdfast.evaluate.scorers import SCORERS, find_scorer
from holdfast.heal.healing import healing_of
from holdfast.methods import METHODS
from holdfast.models import find, peft_extra
from holdfast.objectives import OBJECTIVES
from holdfast.plan.generating import generating_faults
from holdfast.plan.method_faults import method_faults
from holdfast.plan.penalty_faults import penalty_faults
from holdfast.plan.probe_faults import probe_faults
from holdfast.plan.replay_faults import replay_faults
from holdfast.plan.stop_faults import stop_faults
from holdfast.recipe import Recipe, keys_at, nearly, schema_faults, suggest
from holdfast.selection.base import parse

Block = Mapping[str, Any]


def check(values: Block, *, source: str, allow_code: bool = False) -> Recipe:
    """Return the recipe that ``values`` spell, or raise with all of its faults at once.

    Args:
        values: As `holdfast.recipe.read` returns them, flags applied.
        source: File name for the message.
        allow_code: Whether members outside holdfast (``module:Class``) may be imported.

    Raises:
        RecipeError: with every fault of the schema, and every member, option, rule, file, suite or model that is not
            there, even where the schema is at fault elsewhere.
    """
    recipe, faults = schema_faults(values)
    seen = {fault.where for fault in faults}
    faults += [fault for fault in member_faults(values, allow_code=allow_code) if fault.where not in seen]
    if recipe is None or faults:
        raise RecipeError(source, faults)
    return recipe


def member_faults(values: Block, *, allow_code: bool = False) -> list[Fault]:
    """Return the faults of all names in a recipe, reading whatever is readable of it."""
    data = _block(values.get("data"))
    replay = _block(data.get("replay"))
    return [
        *_model_faults("model_name_or_path", values.get("model_name_or_path")),
        *_heal_faults(values, allow_code),
        *_named_faults("method", "method", values.get("method"), METHODS, allow_code),
        *method_faults(values),
        *_named_faults("objective", "objective", values.get("objective"), OBJECTIVES, allow_code),
        *penalty_faults(values),
        *_selection_faults("penalty.on", _block(values.get("penalty")).get("on")),
        *_selection_faults("trainable", values.get("trainable")),
        *_lora_faults(values),
        *generating_faults(values),
        *_selection_faults("budget.reference", _block(values.get("budget")).get("reference")),
        *_source_faults("data", data, values, allow_code),
        *_source_faults("data.replay", _with_options_of(data, replay), values, allow_code, own=replay),
        *replay_faults(values),
        *_suite_faults(values, allow_code),
        *probe_faults(values, allow_code=allow_code),
        *stop_faults(values, allow_code=allow_code),
    ]


def _model_faults(where: str, name: Any) -> Iterator[Fault]:
    if isinstance(name, str):
        try:
            find.find(name)
        except ModelNotFound as fault:
            yield Fault(where, str(fault))


def _heal_faults(values: Block, allow_code: bool) -> Iterator[Fault]:
    heal = values.get("heal")
    if not isinstance(heal, Mapping):
        return
    toward = heal.get("toward")
    if not isinstance(toward, str):
        yield Fault(
            "heal.toward", "is missing", "The model that is healed towards: mostly the one that training began with."
        )
    yield from _model_faults("heal.toward", toward)
    try:
        healing_of({key: value for key, value in heal.items() if key != "toward"}, allow_code=allow_code)
    except UnknownName as fault:
        yield Fault("heal", fault.problem, suggest(fault.name, fault.known))
    except UserError as fault:
        yield Fault("heal", str(fault))


def _named_faults(where: str, kind: str, spec: Any, table: Mapping[str, str], allow_code: bool) -> Iterator[Fault]:
    """Faults of a name, or of a block with a name and the member's options."""
    if not isinstance(spec, str | Mapping):
        return
    try:
        members.build(kind, spec, table, allow_code=allow_code)
    except UnknownName as fault:
        yield Fault(where, fault.problem, suggest(fault.name, fault.known))
    except UserError as fault:
        yield Fault(where, str(fault))


def _selection_faults(where: str, spec: Any) -> Iterator[Fault]:
    if isinstance(spec, str | Mapping):
        try:
            parse(spec)
        except UnknownName as fault:
            yield Fault(where, fault.problem, suggest(fault.name, fault.known))
        except UserError as fault:
            yield Fault(where, str(fault))


def _lora_faults(values: Block) -> Iterator[Fault]:
    needed = peft_extra.missing()
    if values.get("lora") is not None and needed is not None:
        yield Fault("lora", needed)


def _suite_faults(values: Block, allow_code: bool) -> Iterator[Fault]:
    data = _block(values.get("data"))
    for name, suite in _block(values.get("suites")).items():
        if not isinstance(suite, Mapping):
            continue
        where = f"suites.{name}"
        yield from _source_faults(where, _with_options_of(data, suite), values, allow_code, own=suite)
        split, scorer = suite.get("split"), suite.get("scorer")
        if isinstance(split, str) and split not in SPLITS:
            yield Fault(f"{where}.split", f"no such split: {split!r}", suggest(split, SPLITS))
        if isinstance(scorer, str):
            yield from _scorer_faults(f"{where}.scorer", scorer, allow_code)
        if suite.get("purpose") == "ood" and _same_task(data, suite):
            yield Fault(
                f"{where}.rule",
                f"{data['rule']!r} is also the training rule, so the OOD score would repeat the ID score",
                "Choose another rule, or write purpose: id.",
            )


def _scorer_faults(where: str, scorer: str, allow_code: bool) -> Iterator[Fault]:
    try:
        find_scorer(scorer, allow_code=allow_code)
    except UnknownName as fault:
        yield Fault(where, fault.problem, suggest(scorer, SCORERS))
    except UserError as fault:
        yield Fault(where, str(fault))


def _source_faults(
    where: str, block: Block, values: Block, allow_code: bool, *, own: Block | None = None
) -> Iterator[Fault]:
    """Faults of what names an environment or a file; ``own`` are the keys the user wrote in this very block."""
    own = block if own is None else own
    schema = keys_at(where.split("."))
    if not own:
        return
    environment, path = block.get("environment"), own.get("path")
    if (environment is None) == (path is None):
        yield from _unknown_keys(where, own, schema)
        both = "holds both an environment and a path" if path is not None else "names neither an environment nor a path"
        yield Fault(where, both, "Write environment: general_points and a rule, or path: my.jsonl.")
        return
    if path is not None:
        asked = where.startswith("suites.")
        yield from _place_faults(where, path, named=MATH_SUITES if asked else {})
        yield from _unknown_keys(where, own, (*schema, *(OPTIONS if asked else ())))
        if asked and isinstance(path, str):
            known = {key: value for key, value in own.items() if key in (*schema, *OPTIONS)}
            yield from (fault._replace(where=f"{where}.{fault.where}") for fault in file_faults(path, known))
    elif isinstance(environment, str):
        in_play = _rules_in_play(values, environment)
        yield from _environment_faults(where, environment, block, own, schema, in_play, allow_code)


def _place_faults(where: str, path: Any, *, named: Iterable[str]) -> Iterator[Fault]:
    """Faults of what a path leads to: a file, and for a suite also a suite's name or the folder of a data set."""
    if not isinstance(path, str) or (named and find_suite(path) is not None):
        return
    file = Path(path).expanduser()
    if not file.exists():
        near = suggest(file.name, [*(entry.name for entry in file.parent.glob("*.jsonl")), *named])
        yield Fault(f"{where}.path", f"no such file: {path}", near)
    elif not named and not file.is_file():
        yield Fault(f"{where}.path", f"{path} is no file", "One .jsonl file: a JSON object a line.")


def _environment_faults(
    where: str, name: str, block: Block, own: Block, schema: tuple[str, ...], in_play: tuple[str, ...], allow_code: bool
) -> Iterator[Fault]:
    try:
        kind = members.find("environment", name, ENVIRONMENTS, allow_code=allow_code)
    except UnknownName as fault:
        yield Fault(f"{where}.environment", fault.problem, suggest(name, fault.known))
        return
    except UserError as fault:
        yield Fault(f"{where}.environment", str(fault))
        return
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    yield from _unknown_keys(where, own, (*schema, *known))
    yield from _rule_faults(where, name, kind, own, inherited=block.get("rule"))
    playing = [rule for rule in in_play if _knows_rule(kind, rule)]
    options = {key: block[key] for key in known if key in block}
    try:
        kind(**({"rules": tuple(playing), **options} if playing else options))
    except UnknownName as fault:
        key = _key_of(fault.name, options)
        if key is None or key in own:  # else `data`, whose option it is, has said so
            yield Fault(f"{where}.{key}" if key else where, fault.problem, suggest(fault.name, fault.known))
    except (UserError, TypeError, ValueError) as fault:
        if own is block or any(key in own for key in options):
            yield Fault(where, f"{name}: {fault}")


def _rule_faults(where: str, name: str, kind: Any, own: Block, *, inherited: Any) -> Iterator[Fault]:
    rule = own.get("rule")
    if rule is None and inherited is None and not any(nearly(str(key), "rule") for key in own):
        yield Fault(f"{where}.rule", "is missing", f"For example {', '.join(kind().rules)}.")
    elif isinstance(rule, str):
        try:
            kind(rules=(rule,))
        except UnknownName as fault:
            yield Fault(f"{where}.rule", fault.problem, suggest(rule, fault.known))
        except UserError as fault:
            yield Fault(f"{where}.rule", f"{name}: {fault}")


def _knows_rule(kind: Any, rule: str) -> bool:
    try:
        kind(rules=(rule,))
    except UserError:
        return False
    return True


def _key_of(name: str, options: Block) -> str | None:
    """The option whose value is, or holds, the unknown name."""
    keys = [key for key, value in options.items() if value == name or (isinstance(value, list) and name in value)]
    return keys[0] if keys else None


def _rules_in_play(values: Block, environment: Any) -> tuple[str, ...]:
    """The rules that the blocks of one environment name, that of ``data`` first, then that of its replay."""
    data = _block(values.get("data"))
    blocks = [data, _block(data.get("replay")), *(_block(suite) for suite in _block(values.get("suites")).values())]
    named = [block.get("rule") for block in blocks if block.get("environment") == environment]
    return tuple(dict.fromkeys(rule for rule in named if isinstance(rule, str)))


def _unknown_keys(where: str, block: Block, known: Iterable[str]) -> Iterator[Fault]:
    choices = tuple(known)
    for key in block:
        if key not in choices:
            yield Fault(f"{where}.{key}", "no such key", suggest(str(key), choices))


def _with_options_of(data: Block, suite: Block) -> Block:
    """The suite with the options that it leaves to ``data``, if both name one environment."""
    if suite.get("environment") is None or suite.get("environment") != data.get("environment"):
        return suite
    options = {key: value for key, value in data.items() if key == "rule" or key not in keys_at(("data",))}
    return {**options, **suite}


def _same_task(data: Block, suite: Block) -> bool:
    """Whether a suite asks what is learned; without a rule of its own it asks under that of ``data``."""
    named = data.get("environment") is not None and data.get("rule") is not None
    same = suite.get("environment") == data.get("environment") and suite.get("rule") in (None, data.get("rule"))
    return named and same and _same_options(data, suite)


def _same_options(data: Block, suite: Block) -> bool:
    schema = {*keys_at(("data",)), *keys_at(("suites", ""))}
    return all(data.get(key) == value for key, value in suite.items() if key not in schema)


def _block(value: Any) -> Block:
    return value if isinstance(value, Mapping) else {}
