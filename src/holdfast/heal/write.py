"""Write a healed model: a folder that loads like the tuned one, with what it comes from beside it.

Config, tokenizer, processor and generation settings are the tuned model's, and so are the dtype of every tensor and the
size of shards; tied weights are written once. What did not move, packed weights included, is copied bit for bit.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from holdfast.heal.apply import Effect, Operation, Summary, summary
from holdfast.heal.provenance import NAME, provenance
from holdfast.heal.publish import copy_model_files, publishing
from holdfast.heal.stream import Stream
from holdfast.models.durable import write_json
from holdfast.models.tensors import TensorFolder, write_folder


class Written(NamedTuple):
    """What was written.

    Attributes:
        folder: Holds it.
        effects: What the healing did to each tensor.
        summary: To the whole model.
    """

    folder: Path
    effects: list[Effect]
    summary: Summary


def write_checkpoint(operation: Operation, out: Path, *, max_shard_bytes: int | None = None) -> Written:
    """Write the healed model as a model folder with ``heal.json``; in memory is one tensor of each model at a time.

    Args:
        operation: What is done.
        out: Must not exist, or be an empty folder, and not lie in one of the models.
        max_shard_bytes: Of the weights of a file; the largest of the tuned model's if None.

    Raises:
        UserError: ``out`` cannot be used, or the disk is full. Nothing is left then, and the models are untouched.
        ModelError: a file was cut meanwhile, or a tensor holds NaN or infinity. Likewise.
    """
    pair = operation.pair
    specs = [pair.tuned_files.spec(entry.name) for entry in pair.in_file_order()]
    limit = max_shard_bytes or largest_shard(pair.tuned_files)
    room = sum(spec.nbytes for spec in specs)
    with publishing(out, sources=(pair.base, pair.tuned), room=room) as private, Stream(operation) as stream:
        write_folder(private, specs, tensors=stream, max_shard_bytes=limit)
        copy_model_files(pair.tuned, private)
        facts = provenance(operation, effects=stream.effects, sources=stream.source_hashes())
        facts["tensors"] = {
            effect.name: {"sha256": stream.digests[effect.name], "healed": effect.edited > 0}
            for effect in stream.effects
        }
        write_json(private / NAME, facts)
    return Written(out, stream.effects, summary(stream.effects))


def largest_shard(files: TensorFolder) -> int:
    """Return the bytes of tensors in the largest file of a model; at least 1."""
    sizes = Counter[Path]()
    for name in files.names():
        sizes[files.place(name).path] += files.spec(name).nbytes
    return max(1, *sizes.values())
