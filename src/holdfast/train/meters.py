"""Two meters of the small-learning-rate trap: updates that the dtype of the weights swallows.

bfloat16 has 8 significant bits, so a weight of 0.02 moves in steps of 1e-4. A step of 1e-6 then changes 2 weights of
100, and what looks like a gentle learning rate is no training at all. With float32 masters nothing is lost while
training, but the same loss can come back at the end, when the masters are rounded for the export.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from holdfast.errors import ModelError
from holdfast.models.compute import Masters
from holdfast.models.tensors import TensorFolder

WARN_ABOVE = 0.5
"""Share of weights above which a run warns."""

SAMPLE = 65_536
"""Values of each tensor that `sample` takes: the share is known to half a percent from one tensor alone."""

CURES = "export in float32 (save_dtype: float32), round stochastically, or choose a larger learning rate"


def sample(weights: Mapping[str, Tensor], *, per_tensor: int = SAMPLE) -> dict[str, Tensor]:
    """Return a copy of evenly spaced values of each weight, flat, dtype and device kept; the same places every time."""
    taken = {}
    for name, weight in weights.items():
        flat = weight.detach().reshape(-1)
        taken[name] = flat[:: max(1, flat.numel() // per_tensor)].clone()
    return taken


def swallowed_update_fraction(
    before: Mapping[str, Tensor], after_step: Mapping[str, Tensor], *, dtype: torch.dtype
) -> float | None:
    """Return the share of updates of one step that would vanish if the weights were kept in ``dtype``.

    An update d of a weight w vanishes if ``round(round(w) + d) == round(w)``, round to nearest in ``dtype``. Weights
    that the step did not move (d = 0) do not count.

    Args:
        before, after_step: float32 values of the trainable weights around one optimizer step, whole or `sample`.
        dtype: The dtype asked about, for example that of the base's files.

    Returns:
        A share from 0 (nothing is lost) to 1 (nothing is learned); None if no weight was moved.

    Raises:
        ModelError: the two do not hold the same weights.
    """
    if before.keys() != after_step.keys():
        raise ModelError(
            f"different weights before and after the step: {sorted(before.keys() ^ after_step.keys())[:5]}"
        )
    moved = swallowed = 0
    for name, old in before.items():
        update = after_step[name].detach().float() - old.detach().float()
        stored = old.detach().to(dtype)
        lost = (stored.float() + update).to(dtype) == stored
        moves = update != 0
        moved += int(moves.sum())
        swallowed += int((lost & moves).sum())
    return swallowed / moved if moved else None


def lost_update_fraction(
    before: Mapping[str, Tensor], after_step: Mapping[str, Tensor], *, meant: Mapping[str, Tensor]
) -> float | None:
    """Return the share of weights that the optimizer meant to move and that one step left exactly as they were.

    `swallowed_update_fraction` asks what would be lost without masters; this counts what was lost, where there are none
    (``master_dtype: stored``): there the lost updates cannot be seen in the difference of the weights.

    Args:
        before, after_step: Values of the trainable weights around one optimizer step, whole or `sample`.
        meant: Adam's first moments after the step at the same places: where they are 0 no update was meant.

    Returns:
        A share from 0 to 1; None if no update was meant.
    """
    wanted = lost = 0
    for name, moment in meant.items():
        asked = moment != 0
        wanted += int(asked.sum())
        lost += int((asked & (before[name] == after_step[name])).sum())
    return lost / wanted if wanted else None


def unchanged_after_export_fraction(
    base: Path, tuned: Path, *, names: Collection[str] | None = None, save_dtype: torch.dtype | None = None
) -> float | None:
    """Return the share of trained weights that a whole run left, after export, exactly as they were.

    Streams: two tensors in memory at a time. Both are compared in ``save_dtype``.

    Args:
        base, tuned: Model folders.
        names: The trained tensors. None, or where the files name tensors otherwise than the model does: every tensor
            that differs anywhere, so a trained tensor of which nothing at all is left counts as frozen.
        save_dtype: None: the dtype of the tuned files.

    Returns:
        A share from 0 (every weight moved) to 1 (none did); None if there is nothing to compare.

    Raises:
        ModelError: a tensor has another shape in the two folders.
    """
    old, new = TensorFolder(base), TensorFolder(tuned)
    shared = sorted(set(old.names()) & set(new.names()))
    known = set(names or ()) & set(shared)
    all_known = names is not None and len(known) == len(set(names))
    same = total = 0
    for left, right in _pairs(old, new, sorted(known) if all_known else shared, save_dtype):
        equal = int((left == right).sum())
        if all_known or equal < left.numel():
            same, total = same + equal, total + left.numel()
    if not total and not all_known and shared:
        return 1.0
    return same / total if total else None


def warning(meter: str, share: float | None, *, masters: Masters = "float32") -> str | None:
    """Return what to tell the user of a meter's reading, cures included; None if there is nothing to tell."""
    if share is None or share <= WARN_ABOVE:
        return None
    if masters == "stored":
        what = "one step's updates" if meter == "swallowed_update_fraction" else "the trained weights"
        kept = "were rounded away" if meter == "swallowed_update_fraction" else "are exactly those of the base"
        return f"{share:.0%} of {what} {kept}: master_dtype: stored keeps no float32 masters that would add them up."
    if meter == "swallowed_update_fraction":
        return (
            f"{share:.0%} of one step's updates are below the spacing of the weights in their file's dtype: float32 "
            "masters keep them, training in that dtype would lose them."
        )
    return f"{share:.0%} of the trained weights are, after export, exactly those of the base: {CURES}."


def _pairs(
    old: TensorFolder, new: TensorFolder, names: Iterable[str], save_dtype: torch.dtype | None
) -> Iterator[tuple[Tensor, Tensor]]:
    for name in names:
        if old.shape(name) != new.shape(name):
            raise ModelError(f"{name} has shape {old.shape(name)} in {old.folder}, {new.shape(name)} in {new.folder}")
        if new.dtype(name).is_floating_point:
            dtype = save_dtype or new.dtype(name)
            yield old.read(name).to(dtype), new.read(name).to(dtype)
