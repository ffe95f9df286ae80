"""A healed model that is never written: its tensors by the names of the tuned model's files."""

from __future__ import annotations

from torch import Tensor

from holdfast.heal.apply import Operation


def healed_tensors(operation: Operation) -> dict[str, Tensor]:
    """Return every tensor of the healed model in memory, a tied one once, under the names and in the form of the files.

    For ``holdfast.models.load.load(tuned, tensors=...)``. The same bits as `holdfast.heal.write.write_checkpoint`.
    """
    return {healed.entry.name: healed.tensor for healed in operation.tensors()}
