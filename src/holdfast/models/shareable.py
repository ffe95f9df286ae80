"""Whether a model may compute the common beginning of several rows once, and why not.

Two judges. `why_not` reads the configuration and the module tree, so that a plan knows the answer before a weight is
read. `verify` runs the real model both ways on a few rows and compares hidden states, so that no architecture is
trusted for its name: a decoder that keeps a state in its own way, or masks by its own rule, is found out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from holdfast.errors import ModelError, UnknownRole, UserError
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.models.roles import Role
from holdfast.models.shared_prefix import KEYS, Layout, decoder_of, sharing
from holdfast.models.structure import roles

ATTENTION_KINDS = ("full_attention", "sliding_attention")
"""What a block may attend to: every earlier token, or those within a window of places."""

LENGTH_DEPENDENT_ROTATION = ("dynamic", "longrope")
"""Rotary embeddings that turn differently once a call holds more than the original number of positions."""

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Relative difference of a row's hidden states up to which the two ways count as equal. Rounding gives 1e-6 in float32,
a wrong mask or position about 1."""
TOLERANCE_IN_HALF_PRECISION = 0.15
"""Rounding gives up to a few per cent in bfloat16."""

_proved: weakref.WeakKeyDictionary[nn.Module, dict[tuple[torch.dtype, str], int]] = weakref.WeakKeyDictionary()
"""Longest row on which a model was found exact, by dtype and attention: moments ask again and again, of weights that
moved meanwhile and in a structure that did not."""


def why_not(model: nn.Module, *, training: bool, max_length: int | None = None) -> str | None:
    """Return why ``model`` cannot share prefixes exactly, in words that follow its name; None if it can.

    Args:
        model: A decoder-only language model on any device, ``meta`` included.
        training: Whether gradients are wanted: then dropout, router losses and gradient checkpointing forbid it too.
        max_length: Longest row in tokens; None if unknown.
    """
    try:
        decoder = decoder_of(model)
        mixers = [parameter for parameter in roles(model) if parameter.role is Role.MIXER]
    except (ModelError, UnknownRole) as fault:
        return str(fault)
    if mixers:
        return (
            f"has blocks that carry a state from token to token (layer {mixers[0].layer}), which no cache of keys holds"
        )
    config = model.config.get_text_config().to_dict()  # type: ignore[union-attr, operator]
    strange = sorted(set(config.get("layer_types") or ()) - set(ATTENTION_KINDS))
    if strange:
        return f"has blocks of {', '.join(strange)}, which were not proved to share prefixes exactly"
    turned = _rotation(config, max_length)
    if turned is not None:
        return turned
    return _only_in_training(decoder, config) if training else None


def _rotation(config: Mapping[str, Any], max_length: int | None) -> str | None:
    """Rotations that depend on the longest row of a call would differ between prefixes and whole rows."""
    ropes = config.get("rope_parameters") or {}
    kinds = [rope for rope in (ropes, *ropes.values()) if isinstance(rope, Mapping) and "rope_type" in rope]
    for rope in kinds:
        if rope["rope_type"] in LENGTH_DEPENDENT_ROTATION:
            original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
            original = original or config["max_position_embeddings"]
            if max_length is None or max_length > original:
                return (
                    f"turns positions by another rule in calls of more than {original} tokens ({rope['rope_type']}); "
                    f"set max_length to {original} or less"
                )
    return None


def _only_in_training(decoder: nn.Module, config: Mapping[str, Any]) -> str | None:
    if config.get("output_router_logits"):
        return "adds a router loss, which counts every token of every row (output_router_logits)"
    for name, module in decoder.named_modules():
        own = vars(module)
        if own.get("gradient_checkpointing"):
            return "computes activations again in backward (gradient_checkpointing), for which no keys are kept"
        noisy = [k for k, v in own.items() if ("dropout" in k or "jitter" in k) and isinstance(v, float) and v > 0]
        if noisy or (isinstance(module, _DropoutNd) and module.p > 0):
            return f"draws noise for every token of every row ({'.'.join([name, *noisy[:1]])})"
    return None


def verify(
    model: nn.Module, tokens: Sequence[int], *, dtype: torch.dtype, call: Callable[..., Any] | None = None
) -> str | None:
    """Compute a few rows both ways, in eval mode and without gradients; return what differs in words, or None.

    Call it inside `holdfast.models.compute.compute`. It costs two forward passes of four rows, once for a model.

    Args:
        model: On its device.
        tokens: A row as long as any that will be shared, so that windows are met as they will be.
        dtype: In which the model computes.
        call: What is called in place of ``model``; of sharded models every rank must take part, with the same tokens.
    """
    way = (dtype, str(vars(model.config).get("_attn_implementation_internal")))
    if _proved.get(model, {}).get(way, 0) >= len(tokens):
        return None
    batch = {name: x.to(next(model.parameters()).device) for name, x in _rows(tokens).items()}
    layout = Layout.of(batch)
    assert layout is not None
    plain = {name: x for name, x in batch.items() if name not in KEYS}
    with evaluating(model), torch.no_grad():
        padded_BTH = hidden_states(model, call or model, plain)
        try:
            with sharing(model, layout):
                shared_BTH = hidden_states(model, call or model, plain)
        except (ModelError, RuntimeError, TypeError, ValueError, IndexError, AttributeError) as fault:
            return f"cannot be called with the keys and values of a prefix: {str(fault).splitlines()[0][:200]}"
    place_T = torch.arange(padded_BTH.shape[1], device=padded_BTH.device)
    end_B = batch["attention_mask"].sum(1)
    own_BT = (place_T >= batch[KEYS[1]][:, None]) & (place_T < end_B[:, None])
    apart_B = ((shared_BTH - padded_BTH).double() * own_BT[..., None]).flatten(1).norm(dim=1)
    size_B = (padded_BTH.double() * own_BT[..., None]).flatten(1).norm(dim=1)
    worst = float((apart_B / size_B).max())
    limit = TOLERANCE.get(dtype, TOLERANCE_IN_HALF_PRECISION)
    if worst <= limit:
        _proved.setdefault(model, {})[way] = len(tokens)
        return None
    return (
        f"gives other hidden states where a prefix is shared: they differ by {worst:.2g}, and rounding by {limit:.2g}"
    )


def refusal(model: Any, longest: Sequence[int], *, dtype: torch.dtype, insisted: bool) -> str | None:
    """Return why a model in use cannot share prefixes, by `why_not` and then by `verify`; None if it can.

    Args:
        model: Called outside of training.
        longest: The longest row that is to be shared.
        dtype: See `holdfast.models.compute.compute`.
        insisted: Whether a reason is an error.

    Raises:
        UserError: there is a reason, and sharing was ``insisted`` on.
    """
    reason = why_not(model, training=False, max_length=len(longest))
    if reason is None:
        with compute(model, dtype):
            reason = verify(model, longest, dtype=dtype)
    if reason is not None and insisted:
        raise UserError(f"share: always, but {type(model).__name__} {reason}")
    return reason


def _rows(tokens: Sequence[int]) -> dict[str, Tensor]:
    """Four rows on two prefixes, which branch off at four depths."""
    one = [*tokens, *[tokens[-1]] * (10 - len(tokens))]
    n = len(one)
    other = one[::-1][: 2 * n // 3]
    rows = [one, one[: 2 * n // 5] + other[: n // 5], other, other[: n // 3] + one[: n // 5]]
    depths = [4 * n // 5, 2 * n // 5, n // 2, n // 3]
    ids_BT, mask_BT = torch.zeros(4, n, dtype=torch.int64), torch.zeros(4, n, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row)] = torch.tensor(row)
        mask_BT[number, : len(row)] = 1
    return {
        "input_ids": ids_BT,
        "attention_mask": mask_BT,
        KEYS[0]: torch.tensor([0, 0, 2, 2]),
        KEYS[1]: torch.tensor(depths),
    }


def hidden_states(model: nn.Module, call: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Tensor:
    """Call the model and return what meets its output head, (B, T, H); the head itself computes next to nothing."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(args[0])
        return (args[0][..., :1, :], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)  # type: ignore[operator]
    try:
        call(**inputs, use_cache=False)
    finally:
        handle.remove()
    return seen[0]
