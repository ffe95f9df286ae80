"""The answerer of a run, made once: vLLM on the run's own model, or Transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from holdfast.errors import UserError
from holdfast.plan.generating import GeneratesWith
from holdfast.recipe import Recipe
from holdfast.rollout.answerer import TRANSFORMERS, Answerer


@contextmanager
def answering(
    recipe: Recipe,
    who: GeneratesWith,
    *,
    folder: Path,
    compute_dtype: torch.dtype,
    device: torch.device,
    said: Callable[[str], None],
) -> Iterator[Answerer]:
    """Yield who answers; afterwards its memory is free again.

    Args:
        recipe: Of the run.
        who: From `holdfast.plan.generating.generates_with`.
        folder: Of the model's files.
        compute_dtype: In which the model computes.
        device: On which it lies.
        said: Hears of it where ``auto`` meets a model that vLLM cannot serve here: Transformers answers then.

    Raises:
        UserError: the recipe says ``vllm``, and it cannot.
    """
    if who == "transformers":
        yield TRANSFORMERS
        return
    from holdfast.rollout.vllm_answerer import Vllm

    try:
        made = Vllm(
            folder,
            dtype=compute_dtype,
            device_type=device.type,
            gpu_memory_utilization=recipe.vllm_gpu_memory_utilization,
        )
    except UserError as fault:
        if recipe.generate_with == "vllm":
            raise
        said(f"Transformers answers instead of vLLM: {fault}")
        yield TRANSFORMERS
        return
    try:
        yield made
    finally:
        made.close()
