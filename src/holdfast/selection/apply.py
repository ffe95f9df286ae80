"""Let what is selected learn, and prove afterwards that the rest did not move."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from holdfast.errors import FrozenWeightMoved, SelectionError
from holdfast.selection.selected import Selected

SHOWN = 5
"""Names that an error lists at most."""


def apply(model: nn.Module, selected: Selected) -> None:
    """Set ``requires_grad`` of every parameter: True for what is selected, False for the rest.

    Dtypes stay as they are; float32 masters are `holdfast.models.compute.set_masters`'s, which does this too.

    Raises:
        SelectionError: nothing is selected, a selected name is not in the model, or it holds packed (quantized) values
            that no gradient can change. The model is then as it was.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    missing = [name for name in selected.names if name not in named]
    if missing or not selected.names:
        what = f"the model has no parameter {missing[0]!r}" if missing else "nothing is selected"
        raise SelectionError(f"{what}: select again with the roles of this very model")
    packed = [name for name in selected.names if not named[name].is_floating_point()]
    if packed:
        raise SelectionError(
            f"{packed[0]!r} is stored as {named[packed[0]].dtype} and cannot be trained: load the model unquantized, "
            "or train an adapter"
        )
    learning = {id(named[name]) for name in selected.names}
    for parameter in named.values():
        parameter.requires_grad_(id(parameter) in learning)


def fingerprint(tensor: Tensor) -> str:
    """Return a hash of a tensor's dtype, shape and bytes: equal exactly for bit-identical tensors (-0.0 is not 0.0).

    A sharded tensor is gathered first and has the hash of the whole, so every rank must ask for it.
    """
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    flat = whole.detach().reshape(-1).contiguous().cpu().view(torch.uint8)
    digest = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)} ".encode(), digest_size=16)
    digest.update(flat.numpy().data)
    return digest.hexdigest()


def fingerprint_frozen(model: nn.Module, selected: Selected) -> dict[str, str]:
    """Return the fingerprint of every parameter that is not selected, by name. Costs one pass over the weights."""
    learning = set(selected.names)
    return {name: fingerprint(parameter) for name, parameter in model.named_parameters() if name not in learning}


def verify_frozen(model: nn.Module, fingerprints: Mapping[str, str]) -> None:
    """Check that frozen parameters are bit-identical to what they were.

    Args:
        model: After training.
        fingerprints: From `fingerprint_frozen` before training.

    Raises:
        FrozenWeightMoved: a frozen parameter differs or is gone; the message names the first few and says how many.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    moved = [
        name
        for name, before in fingerprints.items()
        if name not in parameters or fingerprint(parameters[name]) != before
    ]
    if moved:
        more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
        raise FrozenWeightMoved(
            f"{len(moved)} of {len(fingerprints)} frozen weights differ from the base: "
            f"{', '.join(moved[:SHOWN])}{more}. "
            "Something other than the optimizer of this run wrote to them; do not use this checkpoint."
        )
