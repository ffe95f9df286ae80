"""The schema of one run: a YAML file into frozen values, or every fault of it at once.

A recipe is data. Keys of TRL and Transformers that we honor keep their names and meaning; other keys of theirs are
refused by name with what to write instead. Whether names of members (environments, objectives, signals, …) and their
options exist is judged one layer up, in `holdfast.plan.check`, because a recipe knows no member.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import Fault, RecipeError, did_you_mean

Count = Annotated[int, Field(ge=1)]
Purpose = Literal["id", "ood", "retention"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class _Open(BaseModel):
    """A block whose further keys are the options of the environment it names."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    environment: str | None = None
    path: str | None = None
    rule: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keys beyond the schema: options of the environment."""
        return dict(self.model_extra or {})


class Data(_Open):
    """What is learned: demonstrations of an environment, or the user's own file.

    Attributes:
        environment, rule: Name of an environment and of the rule to train under; further keys are its options.
        path: A ``.jsonl`` file with ``prompt``/``completion`` or ``messages`` rows.
        size: Number of distinct rows of the environment; rows repeat, in a new order, when training needs more.
        split, seed: Split and seed of the environment's rows.
    """

    size: Count = 20_480
    split: str = "train"
    seed: int = 0


class Decoding(_Closed):
    """How a model answers. Greedy unless ``temperature`` is above 0."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 128
    samples: Count = 1


class SuiteSpec(_Open):
    """A named set of problems that the model is asked during training and at the end.

    Attributes:
        purpose: ``id``, ``ood`` or ``retention``.
        environment, rule: As in ``data``; options that are not given are those of ``data`` if it is the same
            environment.
        path, scorer: A ``.jsonl`` file instead, judged by ``exact`` or ``contains``.
        size: Problems at the last moment (and at step 0).
        size_during: Problems at the moments between; all of them if not given.
        split: ``test`` (held out), its parts ``recall`` and ``compose``, or ``train`` to see memorization.
        seed: The suite's own seed: not the run's.
        attempts: Answers per problem, each after the first with feedback (success@1 and success@attempts).
        decoding: Greedy by default.
    """

    purpose: Purpose
    scorer: str = "exact"
    size: Count = 400
    size_during: Count | None = None
    split: str = "test"
    seed: int = 1_000
    attempts: Count = 1
    decoding: Decoding = Decoding()


class Budget(_Closed):
    """How long to train; it alone owns the number of steps.

    Attributes:
        steps: Optimizer steps of the reference.
        epochs: Passes over the data instead of steps.
        match: What an arm shares with the reference: ``steps``, exact ``flops``, ``6nd`` (6·N·D), or ``trainable``
            (6·N_trainable·D, the literal "fewer parameters, more steps").
        reference: The selection whose ``steps`` fix the budget.
    """

    steps: Count | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    match: Literal["steps", "flops", "6nd", "trainable"] = "steps"
    reference: str | dict[str, Any] = "full"

    @pydantic.model_validator(mode="after")
    def _one_length(self) -> Budget:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self


class Every(_Closed):
    """Moments at a fixed distance."""

    every: Count


class Recipe(_Closed):
    """Everything needed to repeat one run. See the module docstring; ``docs/recipes.md`` lists the keys."""

    model_name_or_path: str
    model_revision: str | None = None
    dtype: DType = "auto"
    compute_dtype: DType = "auto"
    save_dtype: DType = "auto"
    attn_implementation: str | None = None

    method: Literal["sft"] = "sft"
    trainable: str | dict[str, Any] = "full"
    objective: str | dict[str, Any] = "nll"
    normalize: Literal["tokens", "examples", "weights"] = "tokens"
    data: Data
    suites: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], SuiteSpec] = Field(default_factory=dict)
    evaluate_at: Literal["log", "end"] | Every | list[Annotated[int, Field(ge=0)]] = "log"
    budget: Budget
    stop: dict[str, Any] | None = None

    learning_rate: Annotated[float, Field(ge=0)]
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: Annotated[float, Field(ge=0)] = 0.03
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    per_device_eval_batch_size: Count = 64
    max_length: Count | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    gradient_checkpointing: bool = False

    logging_steps: Count = 10
    save_steps: Annotated[int, Field(ge=0)] = 0
    save_total_limit: Count | None = None
    output_dir: str | None = None
    run_name: str | None = None
    report_to: list[str] = Field(default_factory=list)
    seed: int = 0

    def resolved(self) -> dict[str, Any]:
        """Return plain YAML/JSON values, defaults written out."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """Return what the numbers of the run depend on: everything but where it is written and what it is called."""
        values = self.resolved()
        for key in ("output_dir", "run_name", "report_to", "save_total_limit"):
            values.pop(key)
        return values

    def hash(self) -> str:
        """Return 16 hex digits of SHA-256 over `identity`."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_SETTLED_ELSEWHERE = {
    "max_steps": "write budget: {steps: N}",
    "num_train_epochs": "write budget: {epochs: N}",
    "loss_type": "write objective: nll or objective: dft",
    "dataset_name": "write data: {path: my.jsonl}",
    "datasets": "write data: {path: my.jsonl}",
    "eval_steps": "write evaluate_at: {every: N}",
    "eval_strategy": "write evaluate_at: log, {every: N}, or a list of steps",
    "completion_only_loss": "the loss is always on the answer only",
    "train_on_inputs": "the loss is always on the answer only",
    "warmup_ratio": "write warmup_steps: 0.03; below 1 it is a share of all steps",
    "bf16": "write compute_dtype: bfloat16; trainable weights keep float32 masters",
    "fp16": "write compute_dtype: bfloat16 or float32",
    "base_model": "write model_name_or_path",
    "sequence_len": "write max_length",
    "cutoff_len": "write max_length",
    "micro_batch_size": "write per_device_train_batch_size",
    "early_stopping_patience": "write stop: {signal: patience, reads: eval_ood_success, patience: 3}",
    "metric_for_best_model": "write stop: {signal: patience, reads: eval_ood_success}",
    "load_best_model_at_end": "a stop signal names and keeps the best checkpoint",
    "use_dft_loss": "write objective: dft",
    "enable_dft_loss": "write objective: dft",
    "freeze_trainable_layers": "write trainable: {preset: full, layers: last:N} or first:N",
    "freeze_trainable_modules": "write trainable: attention, mlp, or {roles: [...]}",
    "unfrozen_parameters": "write trainable: {include: [globs]}",
    "finetune_attention_modules": "write trainable: attention",
    "finetune_mlp_modules": "write trainable: mlp",
    "packing": "rows are padded, not packed",
    "use_peft": "adapters are wrapped in Python (extra peft), not by a recipe",
    "push_to_hub": "upload the run folder's checkpoint yourself",
}


def read(path: str | Path) -> dict[str, Any]:
    """Read a YAML file with the safe loader; numbers such as ``1e-5`` are numbers.

    Raises:
        RecipeError: there is no such file, it is not YAML, or it is not a mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(
            str(path), [Fault("", f"cannot read the file: {fault.__class__.__name__}: {fault}")]
        ) from fault
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
    result: dict[str, Any] = json.loads(json.dumps(values)) if values else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise RecipeError(source, [Fault(assignment, "is not of the form key=value")])
        block = result
        *path, last = key.strip().replace("-", "_").split(".")
        for name in path:
            block = block.setdefault(name, {})
            if not isinstance(block, dict):
                raise RecipeError(source, [Fault(key, f"{name} is a value, not a block")])
        try:
            block[last] = yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of the safe loader)
        except yaml.YAMLError as fault:
            raise RecipeError(source, [Fault(key, f"not a YAML value: {text!r}")]) from fault
    return result


def schema_faults(values: Mapping[str, Any]) -> tuple[Recipe | None, list[Fault]]:
    """Return the recipe, or None and all faults of its schema."""
    try:
        return Recipe.model_validate(values), []
    except pydantic.ValidationError as error:
        faults: dict[str, Fault] = {}
        for detail in error.errors(include_url=False):
            fault = _fault(detail)
            faults.setdefault(fault.where, fault)
        return None, list(faults.values())


def _fault(detail: Any) -> Fault:
    path = [str(part) for part in detail["loc"] if not _is_branch(str(part))]
    where, key = ".".join(path), path[-1] if path else ""
    if detail["type"] == "extra_forbidden":
        if key in _SETTLED_ELSEWHERE and len(path) == 1:
            return Fault(where, "is not a key of ours", _SETTLED_ELSEWHERE[key] + ".")
        return Fault(where, "no such key", did_you_mean(key, _keys_at(path[:-1])))
    if detail["type"] == "missing":
        return Fault(where, "is missing")
    if detail["type"] == "literal_error":
        return Fault(where, f"{detail['input']!r} is not a choice", f"Choose {detail['ctx']['expected']}.")
    return Fault(where, f"{detail['input']!r}: {detail['msg']}")


def _is_branch(part: str) -> bool:
    """Whether a part of pydantic's location names a branch of a union and no key of the user's."""
    return part in {"Every", "str"} or part.startswith(("literal[", "dict[", "list[", "constrained"))


def _keys_at(path: Sequence[str]) -> list[str]:
    block: type[BaseModel] = Recipe
    blocks: dict[str, type[BaseModel]] = {"data": Data, "budget": Budget, "decoding": Decoding, "suites": SuiteSpec}
    for part in path:
        block = blocks.get(part, block)
    return list(block.model_fields)


_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, reading ``1e-5`` as a number and refusing a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)  # type: ignore[no-untyped-call]  # PyYAML's stub has none
            if isinstance(key, str | int | float | bool) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            if isinstance(key, str | int | float | bool):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", ""))


_Loader.add_constructor("!exponent", _float)
_Loader.add_implicit_resolver("!exponent", _EXPONENT, list("-+0123456789"))
