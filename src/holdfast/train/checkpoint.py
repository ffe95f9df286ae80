"""Checkpoints that survive a kill at any moment. The only writer of weights in a run folder.

``checkpoint-N/`` is a plain Hugging Face folder (what a user loads, in ``save_dtype``) with ``training/`` inside (what
a resumed run needs: float32 masters, optimizer, random states, the caller's own state) and one ``manifest.json`` over
both. A save writes a private folder, makes every file durable, writes the manifest last and renames once, so a folder
named ``checkpoint-N`` is whole or damaged by something else; `newest` tells which. No pickle anywhere.

Of a job of several ranks all call `write`, `newest` and `restore`; the main one reads and writes the folder.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from holdfast.errors import CheckpointError, RunFolderError
from holdfast.models import rng
from holdfast.models.adapters import adapters, write_adapters
from holdfast.models.durable import appearing, discard, write_json
from holdfast.models.ranks import ALONE, Ranks
from holdfast.train import training_state
from holdfast.train.export import write_export
from holdfast.train.manifest import MANIFEST, looks_whole, refuse_other, seal_folder, verify
from holdfast.train.run_folder import (
    cut_logs,
    free_bytes,
    lock,
    pin_logs,
    remove_litter,
    run_logs,
)

NAME = re.compile(r"checkpoint-(\d{1,12})")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose every byte agrees with its manifest.

    Attributes:
        path: The folder.
        step: Optimizer steps taken.
        manifest: As written.
        skipped: Newer folders that were passed over, each with its reason, in words.
    """

    path: Path
    step: int
    manifest: Mapping[str, Any]
    skipped: tuple[str, ...] = ()


def write(
    run_folder: Path,
    *,
    step: int,
    model: Any,
    tokenizer: Any,
    optimizer: torch.optim.Optimizer | None,
    trainable: Collection[str],
    state: Mapping[str, Any],
    logs: Sequence[Path],
    save_dtype: torch.dtype,
    identity: Mapping[str, str],
    processor: Any | None = None,
    exposure: Mapping[str, Any] | None = None,
    base: str | None = None,
    ranks: Ranks = ALONE,
) -> Path:
    """Save ``checkpoint-<step>`` and return its folder. The live model and the random states are not touched.

    A step is written once: if an intact checkpoint of this step and identity exists, it is returned as it is.

    Args:
        run_folder: Held by `lock`.
        step: Optimizer steps taken.
        model: An unwrapped Transformers model.
        tokenizer: Saved beside it; ``processor`` too, if given.
        optimizer: None for a folder from which training is not to go on (only the export matters).
        trainable: Names of the weights that learn.
        state: Further JSON values that `restore` returns: data cursor, scheduler step, budget spent.
        logs: The run's logs as they are now, flushed (`run_logs`); `trim_logs` cuts back to here.
        save_dtype: Of the export.
        identity: What must agree for a resume (hashes of recipe, data, base, …).
        exposure: Written as ``exposure.json``: what the model has seen in pre-training.
        base: Name of the model that adapters belong to, for ``adapter/``, which a model with adapters gets beside the
            merged weights.
        ranks: Of the job; every one's random state is saved.

    Raises:
        RunFolderError: the disk refuses; older checkpoints are untouched and nothing unfinished stays.
        NonFiniteLoss: a trainable weight is NaN or infinite.
    """
    folder = run_folder / f"checkpoint-{step}"
    if ranks.on_main(lambda: _is_saved(folder, identity)):
        return folder
    names = training_state.first_names(model, trainable)
    masters = training_state.masters_of(model, names, ranks=ranks)
    random_states = ranks.gathered(rng.capture())
    try:
        with ranks.together(), appearing(folder) if ranks.is_main else nullcontext() as private:
            write_export(
                private,
                model=model,
                beside=(tokenizer,) if processor is None else (tokenizer, processor),
                save_dtype=save_dtype,
                exposure=exposure,
                ranks=ranks,
            )
            if private is not None and adapters(model):
                write_adapters(private / "adapter", model, base=base)
            training = None if private is None else private / "training"
            facts = _write_tensors(training, model, masters, optimizer, ranks=ranks)
            with ranks.together():
                if private is not None:
                    facts |= {"rng": random_states[0], "rng_of_others": random_states[1:]}
                    write_json(
                        private / "training" / "state.json", facts | {"state": dict(state), "trainable": sorted(names)}
                    )
                    seal_folder(private, step=step, identity=identity, logs=pin_logs(run_folder, logs))
    except (OSError, SafetensorError) as fault:
        free = free_bytes(run_folder)
        raise RunFolderError(
            f"{folder} was not saved: {fault}; about {_size(masters, model):,} bytes are needed, "
            f"{'an unknown number' if free is None else f'{free:,}'} are free. Earlier checkpoints are untouched."
        ) from fault
    return folder


def newest(run_folder: Path, *, identity: Mapping[str, str] | None, ranks: Ranks = ALONE) -> Checkpoint | None:
    """Return the checkpoint with the most steps whose every byte verifies; None if the folder holds none at all.

    Args:
        run_folder: Where the checkpoints lie.
        identity: What the run that wants to resume is; None asks for no agreement (evaluation, diagnosis).
        ranks: Of the job; only the main one looks.

    Raises:
        CheckpointError: there are checkpoints, but none is intact. Training never starts over silently.
        RunFolderError: the newest intact one belongs to a different run; the differences are listed.
    """
    found = ranks.on_main(lambda: _newest(run_folder, identity))
    if found is None:
        return None
    step, manifest, skipped = found
    return Checkpoint(run_folder / f"checkpoint-{step}", step, manifest, tuple(skipped))


def restore(
    checkpoint: Checkpoint, *, model: Any, optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE
) -> Mapping[str, Any]:
    """Put masters, optimizer and random states back bit for bit; return the caller's own ``state``.

    Args:
        checkpoint: From `newest`.
        model: Loaded from the run's base, with the same weights made trainable (`holdfast.models.compute.set_masters`).
        optimizer: Made over the same parameters in the same groups.
        ranks: As many as when it was saved (`identity` is to say so); each gets its own random state back.

    Raises:
        CheckpointError: the checkpoint does not fit the model or the optimizer, or holds no training state.
    """
    folder = checkpoint.path / "training"
    facts = ranks.on_main(lambda: json.loads((folder / "state.json").read_text(encoding="utf-8")))
    if facts["optimizer"] is None:
        raise CheckpointError(f"{checkpoint.path} was saved without an optimizer; training cannot go on from it")
    trainable = frozenset(facts["trainable"])
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if trainable != learning:
        odd = sorted(trainable ^ learning)[:10]
        raise CheckpointError(f"other weights learn than in {checkpoint.path}: {', '.join(odd)}")
    training_state.put_masters(model, trainable, training_state.Stored(folder / "masters.safetensors", ranks=ranks))
    stored = training_state.Stored(folder / "optimizer.safetensors", ranks=ranks)
    training_state.into_optimizer(optimizer, model, stored=stored, facts=facts["optimizer"])
    rng.restore(facts["rng"] if ranks.is_main else facts["rng_of_others"][ranks.index - 1])
    state: Mapping[str, Any] = facts["state"]
    return state


def trim_logs(checkpoint: Checkpoint, run_folder: Path) -> None:
    """Cut the run's logs back to where they were at the checkpoint, so that a resumed run's equal an unbroken run's.

    Raises:
        CheckpointError: a log's older part is not what it was. Nothing is cut then.
    """
    cut_logs(run_folder, checkpoint.manifest["logs"])


def prune(run_folder: Path, *, keep: int, protected: Collection[int] = ()) -> list[Path]:
    """Remove all but the ``keep`` newest whole checkpoints; never a step of ``protected``. Returns what was removed.

    Only folders with a sealed manifest and files of the right sizes count among the kept (contents are not re-read).
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    removed = []
    kept = 0
    for step, path in sorted(_checkpoints(run_folder).items(), reverse=True):
        whole = looks_whole(path)
        if whole and kept < keep:
            kept += 1
        elif step not in protected and kept >= keep:
            discard(path)
            removed.append(path)
    return removed


def _is_saved(folder: Path, identity: Mapping[str, str]) -> bool:
    """Whether this very checkpoint is there and intact; a damaged one is removed."""
    if not (folder.exists() or folder.is_symlink()):
        return False
    try:
        refuse_other(verify(folder), folder, identity)
    except CheckpointError as fault:
        log.warning("%s is replaced: %s", folder, fault)
        discard(folder)
        return False
    return True


def _newest(run_folder: Path, identity: Mapping[str, str] | None) -> tuple[int, dict[str, Any], list[str]] | None:
    skipped: list[str] = []
    for step, path in sorted(_checkpoints(run_folder).items(), reverse=True):
        try:
            manifest = verify(path)
        except CheckpointError as fault:
            skipped.append(f"{path.name} is skipped: {fault}")
            log.warning("%s is skipped: %s", path, fault)
            continue
        if identity is not None:
            refuse_other(manifest, path, identity)
        return step, manifest, skipped
    if skipped:
        raise CheckpointError(f"{run_folder} holds checkpoints, but none is intact. " + " ".join(skipped))
    return None


def _write_tensors(
    folder: Path | None,
    model: Any,
    masters: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer | None,
    *,
    ranks: Ranks,
) -> dict[str, Any]:
    """Write masters and optimizer; return what is to be known of the optimizer beside its tensors."""
    if folder is not None:
        folder.mkdir()
    saved = None if optimizer is None else training_state.of_optimizer(optimizer, model)
    parts = {"masters": masters} if saved is None else {"masters": masters, "optimizer": saved.tensors}
    for name, tensors in parts.items():
        path = None if folder is None else folder / f"{name}.safetensors"
        training_state.write_tensors(path, tensors, ranks=ranks)
    return {"optimizer": None if saved is None else saved.facts}


def _checkpoints(run_folder: Path) -> dict[int, Path]:
    if not run_folder.is_dir():
        return {}
    found = {path: NAME.fullmatch(path.name) for path in run_folder.iterdir()}
    return {int(match.group(1)): path for path, match in found.items() if match}


def _size(masters: Mapping[str, torch.Tensor], model: Any) -> int:
    # Export, masters and two moments of AdamW: a guess for the message, not a promise.
    whole = sum(parameter.nbytes for parameter in model.parameters())
    return int(whole + 3 * sum(tensor.nbytes for tensor in masters.values()))


__all__ = [
    "MANIFEST",
    "Checkpoint",
    "lock",
    "newest",
    "prune",
    "remove_litter",
    "restore",
    "run_logs",
    "trim_logs",
    "verify",
    "write",
]
