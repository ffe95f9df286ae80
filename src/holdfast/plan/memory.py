"""How much memory training needs: an estimate to choose a machine by, not a measurement.

Seen on a CPU with a random Llama of 60 million parameters in bfloat16, 16 rows of 47 tokens: 1.48 GB estimated and
1.39 GB measured for full training, 0.73 and 0.73 GB for attention, beside the 0.47 GB of the process itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from holdfast.models.compute import Masters

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
MASTER = 4
"""Bytes of a float32 weight that learns; its gradient and each of Adam's two moments take as many."""
STORED_PER_HIDDEN = 34
"""Bytes kept for backward per token, block and hidden unit in half precision with fused attention (Korthikanti et al.
2022, table 2, without the quadratic term); all of it is counted, though frozen matrices keep less."""
RESERVE = 1.15
"""Fragmentation, kernels' workspaces and the runtime itself."""
SIZES_GB = (4, 8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 192, 288, 384, 640, 1128, 1536)
"""Memory of usual devices, and of eight of them together for runs that are not planned on several."""


class Shape(NamedTuple):
    """How a model's scalars are spread over what sharding gathers at a time.

    Attributes:
        whole: All of them.
        learning: Those that learn.
        largest_block: Of the largest block, decoder or tower.
        outside: Outside of the blocks: embeddings, head, last norm.
    """

    whole: int
    learning: int
    largest_block: int
    outside: int


@dataclass(frozen=True)
class Memory:
    """Bytes that a training run holds at its peak on each device, by kind.

    Attributes:
        weights: Frozen weights in their dtype, learning ones as masters (with their half-precision casts, unless they
            are sharded); with several devices, one device's share.
        training: Gradients and Adam's moments of what learns, or one device's share.
        activations: What one micro-batch keeps for backward.
        gathered: Sharded only: two blocks and what stands outside of the blocks, whole, in the compute dtype, and one
            block's gradients.
        measuring: Sharded only: the whole model in the compute dtype, as moments gather it; not beside activations.
        base: The untrained model, for objectives that ask it; whole on every device.
        penalty: What a penalty on the update keeps of the base, and computes at a time.
        devices: Over how many the run is sharded.
    """

    weights: int
    training: int
    activations: int
    gathered: int = 0
    measuring: int = 0
    base: int = 0
    penalty: int = 0
    devices: int = 1

    @property
    def total(self) -> int:
        """All of it, with a reserve of 15 %; the caches of answers that moments write are not counted."""
        passing = max(self.activations + self.gathered, self.measuring)
        return round((self.weights + self.training + self.base + self.penalty + passing) * RESERVE)

    @property
    def fits_gb(self) -> int | None:
        """The smallest usual memory in GB (10^9 bytes) that holds it; None if none does."""
        return next((size for size in SIZES_GB if self.total <= size * 10**9), None)


def estimate(
    shape: Shape,
    *,
    stored: str,
    computed: str,
    activations: int,
    masters: Masters = "float32",
    with_base: bool = False,
    devices: int = 1,
) -> Memory:
    """Return the memory of a run on each of its devices.

    Args:
        shape: Of the model.
        stored: Dtype in which the model is loaded.
        computed: Dtype of the products.
        activations: From `activation_bytes`.
        masters: As in the recipe's ``master_dtype``: gradients and Adam's moments have the dtype of the masters.
        with_base: Whether the objective asks the untrained model.
        devices: With more than one, weights, gradients and moments are sharded over them (FSDP 2).
    """
    cast = BYTES.get(computed, 4)
    kept = stored if masters == "stored" else "float32"
    master = BYTES.get(kept, MASTER)
    base = shape.whole * BYTES.get(stored, 2) if with_base else 0
    frozen, learning = (shape.whole - shape.learning) * BYTES.get(stored, 2), shape.learning * master
    if devices > 1:
        return Memory(
            weights=(frozen + learning) // devices,
            training=3 * learning // devices,
            activations=activations,
            gathered=(2 * shape.largest_block + shape.outside) * cast + shape.largest_block * master,
            measuring=shape.whole * cast,
            base=base,
            devices=devices,
        )
    if cast > BYTES.get(stored, 2):
        frozen += (shape.whole - shape.learning) * cast  # cast copies, kept while the step runs
    casts = shape.learning * cast if computed != kept else 0
    return Memory(frozen + learning + casts, 3 * learning, activations, base=base)


def activation_bytes(config: Any, *, tokens: int, computed: str, checkpointing: bool) -> int:
    """Return the bytes that one micro-batch of ``tokens`` tokens keeps for backward.

    With gradient checkpointing only each block's input is kept, and one block's inside at a time.
    """
    text = config.get_text_config()
    hidden, blocks = int(text.hidden_size), int(text.num_hidden_layers)
    scale = BYTES.get(computed, 4) // 2
    inside = STORED_PER_HIDDEN * hidden * tokens * scale
    return inside + blocks * 2 * hidden * tokens * scale if checkpointing else inside * blocks
