"""Who answers in a run: what its recipe asks, and what its model, its processes and this machine allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from holdfast.errors import Fault, UserError
from holdfast.recipe import Recipe
from holdfast.rollout import vllm_extra

GeneratesWith = Literal["transformers", "vllm"]
COMPUTED = ("float32", "bfloat16", "float16")
"""Dtypes in which vLLM computes."""


class Asked(NamedTuple):
    """What is to answer, and to what.

    Attributes:
        config: The model's.
        reads_pictures: Whether it has a processor.
        compute_dtype: Name of the dtype in which it computes.
        processes: Of the run.
        anything: Whether any answer is generated at all.
    """

    config: Any
    reads_pictures: bool
    compute_dtype: str
    processes: int
    anything: bool


def generating_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the fault of asking for vLLM where it is not installed."""
    if values.get("generate_with") != "vllm":
        return
    needed = vllm_extra.missing()
    if needed is not None:
        yield Fault("generate_with", f"vllm {needed}", "Or write generate_with: transformers.")


def generates_with(recipe: Recipe, asked: Asked) -> GeneratesWith:
    """Return who answers: ``auto`` means vLLM where it is installed, the GPU is NVIDIA's or AMD's, and nothing forbids.

    Args:
        recipe: Says ``auto``, ``transformers`` or ``vllm``.
        asked: See `Asked`.

    Raises:
        UserError: ``vllm``, and it cannot.
    """
    import torch

    if recipe.generate_with == "transformers":
        return "transformers"
    reason = _why_not(asked)
    if recipe.generate_with == "vllm":
        if reason is not None:
            raise UserError(f"generate_with: vllm, but {reason}. Write generate_with: transformers, or auto")
        return "vllm"
    able = reason is None and vllm_extra.missing() is None and torch.cuda.is_available()
    return "vllm" if able else "transformers"


def generates(recipe: Recipe, *, answers: bool) -> bool:
    """Whether a run lets a model write anything.

    Args:
        recipe: Its suites and its replay may ask.
        answers: Whether its method draws or plays.
    """
    replay = recipe.data.replay
    asks = any(not suite.decoding.teacher_forced for suite in recipe.suites.values())
    return answers or asks or (replay is not None and replay.answers == "base")


def caution(recipe: Recipe, who: GeneratesWith) -> list[str]:
    """Return what to hear before a run whose answers come from vLLM."""
    if who == "transformers":
        return []
    return [
        f"answers come from vLLM, which takes {recipe.vllm_gpu_memory_utilization:g} of a GPU's memory beside the "
        "estimate below, all the time, and whose rounding differs a little from training's "
        "(generate_with: transformers does without)"
    ]


def _why_not(asked: Asked) -> str | None:
    if not asked.anything:
        return "nothing in this recipe is generated (no suites, or teacher-forced ones only)"
    if asked.processes > 1:
        return f"the run has {asked.processes} processes, and vLLM answers in runs of one process only"
    if asked.reads_pictures:
        return "the model reads pictures, which only Transformers gets"
    if "quantization_config" in asked.config.to_dict():
        return "the model's files are quantized, so that weights cannot be handed over as they are"
    if asked.compute_dtype not in COMPUTED:
        return f"the model computes in {asked.compute_dtype}, in which vLLM does not compute"
    return None
