"""Every fault of a recipe's schema at once, each in words, with the nearest key or with what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic
from pydantic import BaseModel

from holdfast.errors import Fault, did_you_mean
from holdfast.recipe.blocks import Data, Decoding, Replay, SuiteSpec
from holdfast.recipe.schema import Budget, Every, Lora, Penalty, Recipe

SETTLED_ELSEWHERE = {
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
    "greater_is_better": "write stop: {signal: patience, reads: eval_ood_success, mode: max}",
    "load_best_model_at_end": "a stop signal names and keeps the best checkpoint",
    "use_dft_loss": "write objective: dft",
    "enable_dft_loss": "write objective: dft",
    "use_eaft_loss": "write objective: entropy",
    "use_asft_loss": "write objective: anchored",
    "label_smoothing_factor": "write objective: {name: label_smoothing, epsilon: X}",
    "loss_scale": "write an objective that weighs tokens; the prompt is never learned",
    "neftune_noise_alpha": "embeddings get no noise",
    "use_liger_kernel": "every objective has bounded memory and exact gradients without it",
    "freeze_trainable_layers": "write trainable: {preset: full, layers: last:N} or first:N",
    "freeze_trainable_modules": "write trainable: attention, mlp, or {roles: [...]}",
    "unfrozen_parameters": "write trainable: {include: [globs]}",
    "finetune_attention_modules": "write trainable: attention",
    "finetune_mlp_modules": "write trainable: mlp",
    "packing": "rows are padded, not packed",
    "padding_free": "rows are padded, not packed",
    "sequence_parallel_size": "a row is never cut over devices; DDP and FSDP share out rows",
    "context_parallel_size": "a row is never cut over devices; DDP and FSDP share out rows",
    "average_tokens_across_devices": "the loss is always one mean over the tokens of all devices",
    "use_peft": "write lora: {r: 8, alpha: 16}",
    "finetuning_type": "write lora: {r: 8, alpha: 16} for adapters; leave it out to train the weights themselves",
    "lora_r": "write lora: {r: N}",
    "lora_rank": "write lora: {r: N}",
    "lora_alpha": "write lora: {alpha: X}",
    "lora_dropout": "write lora: {dropout: X}",
    "lora_target_modules": "write trainable: full, attention, mlp or {include: [globs]}; lora adapts its linear layers",
    "lora_target": "write trainable: full, attention, mlp or {include: [globs]}; lora adapts its linear layers",
    "use_vllm": "write generate_with: vllm",
    "vllm_mode": "write generate_with: vllm, which runs in the same process",
    "vllm_max_model_length": "vLLM gets the model's positions, or as many as its memory holds",
    "push_to_hub": "upload the run folder's checkpoint yourself",
}


def schema_faults(values: Mapping[str, Any]) -> tuple[Recipe | None, list[Fault]]:
    """Return the recipe, or None and all faults of its schema.

    A key that is missing because its name is misspelled is one fault, the misspelled one.
    """
    try:
        return Recipe.model_validate(values), []
    except pydantic.ValidationError as error:
        faults: dict[str, Fault] = {}
        for detail in error.errors(include_url=False):
            path = tuple(str(part) for part in detail["loc"] if not _is_branch(str(part)))
            if detail["type"] == "missing" and _misspelled(path, values):
                continue
            fault = _fault(path, detail)
            faults.setdefault(fault.where, fault)
        if any(where.startswith("evaluate_at.") for where in faults):
            faults.pop("evaluate_at", None)  # the branches that the user did not mean
        return None, list(faults.values())


def keys_at(path: Sequence[str]) -> tuple[str, ...]:
    """Return the schema's keys of the block at ``path``, for example of ``("suites", "id", "decoding")``.

    Options of an environment, which ``data`` and suites take beside them, are not among them.
    """
    match tuple(path):
        case ():
            block: type[BaseModel] = Recipe
        case ("data",):
            block = Data
        case ("data", "replay"):
            block = Replay
        case ("budget",):
            block = Budget
        case ("evaluate_at",):
            block = Every
        case ("lora",):
            block = Lora
        case ("penalty",):
            block = Penalty
        case ("suites", _):
            block = SuiteSpec
        case ("suites", _, "decoding"):
            block = Decoding
        case _:
            return ()
    return tuple(block.model_fields)


def suggest(name: str, known: Iterable[str], *, limit: int = 12) -> str:
    """Return "did you mean" and the whole choice; the choice is left out where it is long and a near name is found."""
    words = did_you_mean(name, choices := tuple(known))
    question, mark, _ = words.partition("? Known: ")
    return question + "?" if mark and len(choices) > limit else words


def nearly(key: str, meant: str, *, among: Sequence[str] = ()) -> bool:
    """Whether ``key`` is a misspelling of ``meant``: unknown, and nearer to it than to all ``among`` the known."""
    near = difflib.get_close_matches(key.lower(), [*among, meant], n=1, cutoff=0.6)
    return key != meant and key not in among and near == [meant]


def _fault(path: tuple[str, ...], detail: Any) -> Fault:
    where, key = ".".join(path), path[-1] if path else ""
    found = _shown(detail["input"])
    match detail["type"]:
        case _ if where == "evaluate_at":
            return Fault(where, f"{found} is no schedule", "Write log, end, {every: N}, or a list of steps.")
        case "string_type" if where in {"trainable", "objective", "budget.reference"}:
            return Fault(where, f"{found} is neither a name nor a block with a name and options")
        case "extra_forbidden" if len(path) == 1 and key in SETTLED_ELSEWHERE:
            return Fault(where, "is not a key of ours", SETTLED_ELSEWHERE[key] + ".")
        case "extra_forbidden":
            return Fault(where, "no such key", suggest(key, keys_at(path[:-1])))
        case "missing":
            return Fault(where, "is missing")
        case "literal_error":
            choices = re.findall(r"'([^']+)'", detail["ctx"]["expected"])
            return Fault(where, f"{found} is not a choice", suggest(str(detail["input"]), choices))
        case "value_error":
            return Fault(where, str(detail["ctx"]["error"]))
        case "string_pattern_mismatch" if "[key]" in path:
            return Fault(
                ".".join(path[:-1]),
                "is no name for a suite",
                "Use small letters, digits and _, a letter first: it becomes part of names such as eval_ood_success.",
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            return Fault(where, f"{found} is a value; a block of keys is needed", _block_keys(path))
        case _:
            return Fault(where, f"{found}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")


def _block_keys(path: tuple[str, ...]) -> str:
    keys = keys_at(path)
    return f"Its keys: {', '.join(keys)}." if keys else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _misspelled(path: tuple[str, ...], values: Mapping[str, Any]) -> bool:
    """Whether the block that lacks the key at ``path`` holds an unknown key of nearly its name."""
    block: Any = values
    for part in path[:-1]:
        block = block.get(part) if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping):
        return False
    return any(nearly(str(key), path[-1], among=keys_at(path[:-1])) for key in block)


def _is_branch(part: str) -> bool:
    """Whether a part of pydantic's location names a branch of a union and no key of the user's."""
    return part in {"Every", "str", "int", "float"} or part.startswith(("literal[", "dict[", "list[", "constrained"))
