"""A healing as a PEFT adapter on the tuned model: it can be switched on and off, and weighed, where adapters can.

    W_healed = W_tuned + B A ,      B A = −left · rightᵀ    (of the transpose in a Conv1D)

with alpha = r, so that PEFT's scale is 1, and a rank of its own for each layer. PEFT adds the product to the layer's
output and never rounds the sum to the dtype of the weights: the healed model within that rounding.

Shapes: ``M`` rows, ``N`` columns, ``K`` rank of an edit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.errors import UserError
from holdfast.heal.apply import Operation, summary
from holdfast.heal.low_rank import LowRank
from holdfast.heal.provenance import NAME, provenance
from holdfast.heal.publish import publishing
from holdfast.heal.sources import Sources
from holdfast.heal.write import Written
from holdfast.models import peft_extra
from holdfast.models.adapters import linear_weights, peft_name, target_modules, write_peft_config
from holdfast.models.durable import write_json
from holdfast.models.pairs import Entry
from holdfast.models.safetensors_file import write_growing
from holdfast.models.skeleton import skeleton

WEIGHTS = "adapter_model.safetensors"
ENTRY_BYTES = 400
"""Of a header, for what it says of a layer's two factors beside their names."""


def write_adapter(operation: Operation, out: Path) -> Written:
    """Write a healing as a PEFT folder: ``PeftModel.from_pretrained(tuned, out)`` is the healed model.

    Args:
        operation: What is done.
        out: Must not exist, or be an empty folder, and not lie in one of the models.

    Raises:
        UserError: PEFT is not installed, the healing is not of low rank, it touches something else than weights of
            linear layers, or nothing; ``out`` cannot be used, or the disk is full. Nothing is left then.
    """
    needed = peft_extra.missing()
    if needed is not None:
        raise UserError(needed)
    pair, bones = operation.pair, skeleton(operation.pair.names[1]).model
    linear, ranks, flipped = _linear(operation, bones), dict[str, int](), set[bool]()
    room = sum(ENTRY_BYTES + 2 * len(entry.parameter) for entry in pair.entries if entry.matrices)
    with Sources(pair) as sources:
        found = LowRank(operation, sources)

        def factors() -> Iterator[tuple[str, Tensor]]:
            for matrix in found:
                if matrix.entry.name not in linear:
                    raise _not_linear(matrix.entry)
                path = matrix.entry.parameter.removesuffix(".weight")
                ranks[path] = matrix.left_MK.shape[1]
                flipped.add(matrix.entry.inputs_first)
                inputs, outputs = matrix.right_NK, -matrix.left_MK
                if matrix.entry.inputs_first:
                    inputs, outputs = matrix.left_MK, -matrix.right_NK
                yield peft_name(path, "lora_A"), inputs.T
                yield peft_name(path, "lora_B"), outputs

        with publishing(out, sources=(pair.base, pair.tuned), room=0) as private:
            write_growing(private / WEIGHTS, factors(), room=room, metadata={"format": "pt"})
            if not ranks:
                raise UserError("heal: this healing touches nothing, so there is no adapter. Nothing was written.")
            if len(flipped) > 1:
                raise UserError("heal: an adapter cannot hold Linear and Conv1D layers; select one kind, or checkpoint")
            write_peft_config(private, base=pair.names[1], **_shape(bones, ranks), fan_in_fan_out=flipped.pop())
            write_json(private / NAME, provenance(operation, effects=found.effects, sources=sources.hashes()))
    return Written(out, found.effects, summary(found.effects))


def _shape(model: Any, ranks: dict[str, int]) -> dict[str, Any]:
    """Return PEFT's words for which layers have an adapter and of which rank: the commonest, and what differs."""
    common = Counter(ranks.values()).most_common(1)[0][0]
    others = {re.escape(path): rank for path, rank in ranks.items() if rank != common}
    return {
        "r": common,
        "lora_alpha": common,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": target_modules([path for path, _ in model.named_modules()], set(ranks)),
    }


def _linear(operation: Operation, model: Any) -> frozenset[str]:
    """Return the names of tensors that are, as they lie in the files, the whole weight of one linear layer."""
    pair = operation.pair
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    parts = Counter(entry.parameter for entry in pair.entries)
    adaptable = set(linear_weights(model, pair.parameters))
    return frozenset(
        entry.name
        for entry in pair.entries
        if entry.parameter in adaptable and parts[entry.parameter] == 1 and shapes[entry.parameter] == entry.shape
    )


def _not_linear(entry: Entry) -> UserError:
    return UserError(
        f"heal: {entry.name} is not the weight of a linear layer of the model in memory, so no adapter can hold its "
        "edit: select others (--on attention), or write a checkpoint or a delta. Nothing was written."
    )
