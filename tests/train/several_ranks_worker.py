"""Run by `test_several_ranks.py` under ``torchrun``: whole runs of one recipe on two ranks, as the arguments say.

``several_ranks_worker.py <folder> <act> …``: acts are functions of this file, carried out one after another in one job.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import tiny_models
from holdfast.errors import DataError, HoldfastError
from holdfast.models.sharding import shard
from holdfast.plan import check
from holdfast.recipe import Recipe
from holdfast.rollout import generate
from holdfast.run import RunResult, run
from holdfast.train import training_state
from holdfast.train.export import write_export
from holdfast.train.processes import processes
from holdfast.train.progress import Silent
from holdfast.train.sft import SFT

FAMILIES = ("gpt_neox", "gemma3", "mixtral")
RANK = int(os.environ.get("RANK", "0"))
RULE = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}
SUITE = {**RULE, "size": 5, "decoding": {"max_new_tokens": 6}}


def recipe(folder: Path, base: str, **changes: Any) -> Recipe:
    """Five steps of a base in ``folder``: some of its bf16 weights learn, with float32 masters, two batches a step."""
    values = {
        "model_name_or_path": str(folder / base),
        "trainable": "attention",
        "data": {**RULE, "size": 64},
        "suites": {
            "id": {**SUITE, "purpose": "id"},
            "drawn": {
                **SUITE,
                "rule": "faces_as_5_7_9",
                "purpose": "ood",
                "attempts": 2,
                "decoding": {"max_new_tokens": 6, "temperature": 1.0},
            },
            "forced": {**SUITE, "purpose": "id", "decoding": {"teacher_forced": True}},
        },
        "stop": {"signal": "ood_peak", "reads": "eval_drawn_success"},
        "evaluate_at": [0, 3, 5],
        "budget": {"steps": 5},
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "max_grad_norm": 0.5,
        "compute_dtype": "float32",
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "logging_steps": 1,
        **changes,
    }
    return check(values, source="test")


def dropping(folder: Path) -> Recipe:
    """The same with dropout, in half precision and with recomputed activations: every rank's random state matters."""
    suites = {"id": {**SUITE, "purpose": "id"}}
    return recipe(
        folder, "dropping", compute_dtype="auto", save_steps=2, gradient_checkpointing=True, suites=suites, stop=None
    )


def equal(folder: Path) -> None:
    rows = 4 // int(os.environ.get("WORLD_SIZE", "1"))
    run(recipe(folder, "base", per_device_train_batch_size=rows), folder=folder / "equal")


def adapted(folder: Path) -> None:
    """As `equal`, with adapters on all linear layers."""
    rows = 4 // int(os.environ.get("WORLD_SIZE", "1"))
    suites = {"id": {**SUITE, "purpose": "id"}}
    changes: dict[str, Any] = {"trainable": "full", "lora": {"r": 4}, "suites": suites, "stop": None}
    run(recipe(folder, "base", per_device_train_batch_size=rows, **changes), folder=folder / "adapted")


def sharded_adapters(folder: Path) -> None:
    """Adapters are refused by every rank where the job is sharded."""
    try:
        run(recipe(folder, "base", lora={"r": 4}), folder=folder / "sharded_adapters")
    except HoldfastError as fault:
        (folder / f"sharded_adapters-{RANK}.json").write_text(json.dumps([type(fault).__name__, str(fault)]))


def unbroken(folder: Path) -> None:
    run(dropping(folder), folder=folder / "unbroken")


class Interrupting(Silent):
    """Interrupts the main rank, which alone hears of progress, when step 2 is logged."""

    def logged(self, metrics: Any) -> None:
        if metrics["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)


def broken_off(folder: Path) -> None:
    result: RunResult = run(dropping(folder), folder=folder / "broken", progress=Interrupting())
    assert (result.status, result.steps) == ("interrupted", 3), result
    resumed(folder)


def killed(folder: Path) -> None:
    """Kill the other rank, without a word, in the middle of step 4: `resumed`, in another job, goes on."""
    next_step, calls = SFT.next_step, []

    def deadly(self: SFT) -> Any:
        calls.append(1)
        if RANK == 1 and len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return next_step(self)

    SFT.next_step = deadly  # type: ignore[method-assign]
    run(dropping(folder), folder=folder / "broken")


def resumed(folder: Path) -> None:
    """Go on with a run that was broken off."""
    assert run(dropping(folder), folder=folder / "broken").status == "finished"


def deaf_rank(folder: Path) -> None:
    """One rank fails while it answers its share of a suite: both end, each with its error."""
    continues = generate._continue

    def failing(*args: Any, **options: Any) -> Any:
        if RANK == 1:
            raise DataError("this rank cannot answer")
        return continues(*args, **options)

    generate._continue = failing
    _tell(folder, "deaf_rank")
    generate._continue = continues


def full_disk(folder: Path) -> None:
    """The main rank's disk is full in the middle of a save: both end, each with its error."""
    writes = training_state.write_file

    def failing(path: Path, *args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    training_state.write_file = failing
    _tell(folder, "full_disk")
    training_state.write_file = writes


def families(folder: Path) -> None:
    """Shard models whose files name tensors otherwise than they do, and export them."""
    ranks = processes()
    for name in FAMILIES:
        model = tiny_models.build(name)
        shard(model, device=torch.device("cpu"), compute_dtype=torch.float32, apart=frozenset())
        place = folder / name if ranks.is_main else None
        if place is not None:
            place.mkdir()
        write_export(place, model=model, beside=(), save_dtype=torch.bfloat16, exposure=None, ranks=ranks)


def answering(folder: Path) -> None:
    """What would let a sharded model write answers is refused on every rank, before the first step."""
    for name in ("grpo", "rft"):
        method = {"name": name, "num_generations" if name == "grpo" else "samples": 2}
        _tell(folder, f"{name}_sharded", method=method, budget={"steps": 1}, data={**RULE, "size": 512})


def _tell(folder: Path, name: str, **changes: Any) -> None:
    try:
        run(recipe(folder, "base", seed=7, **changes), folder=folder / name)
    except HoldfastError as fault:
        (folder / f"{name}-{RANK}.json").write_text(json.dumps([type(fault).__name__, str(fault)]))


if __name__ == "__main__":
    for act in sys.argv[2:]:
        globals()[act](Path(sys.argv[1]))
