"""How much memory training needs: an estimate to choose a machine by, not a measurement.

Seen on a CPU with a random Llama of 60 million parameters in bfloat16, 16 rows of 47 tokens: 1.48 GB estimated and
1.39 GB measured for full training, 0.73 and 0.73 GB for attention, beside the 0.47 GB of the process itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
"""Memory of usual machines and of eight of them together."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a training run holds at its peak, by kind.

    Attributes:
        weights: Frozen weights in their dtype, learning ones as masters with their half-precision casts.
        training: Gradients and Adam's moments of what learns.
        activations: What one micro-batch keeps for backward.
    """

    weights: int
    training: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, with a reserve of 15 %."""
        return round((self.weights + self.training + self.activations) * RESERVE)

    @property
    def fits_gb(self) -> int | None:
        """The smallest usual memory in GB (10^9 bytes) that holds it; None if none does."""
        return next((size for size in SIZES_GB if self.total <= size * 10**9), None)


def estimate(
    *,
    n_parameters: int,
    n_trainable: int,
    stored: str,
    computed: str,
    activations: int,
    masters: Masters = "float32",
) -> Memory:
    """Return the memory of a run.

    Args:
        n_parameters: Scalars of the model.
        n_trainable: Scalars that learn.
        stored: Dtype in which the model is loaded.
        computed: Dtype of the products.
        activations: From `activation_bytes`.
        masters: As in the recipe's ``master_dtype``: gradients and Adam's moments have the dtype of the masters.
    """
    frozen = (n_parameters - n_trainable) * BYTES.get(stored, 2)
    if BYTES.get(computed, 4) > BYTES.get(stored, 2):
        frozen += (n_parameters - n_trainable) * BYTES.get(computed, 4)  # cast copies, kept while the step runs
    kept = stored if masters == "stored" else "float32"
    master = BYTES.get(kept, MASTER)
    cast = BYTES.get(computed, 4) if computed != kept else 0
    return Memory(frozen + n_trainable * (master + cast), n_trainable * 3 * master, activations)


def activation_bytes(config: Any, *, tokens: int, computed: str, checkpointing: bool) -> int:
    """Return the bytes that one micro-batch of ``tokens`` tokens keeps for backward.

    With gradient checkpointing only each block's input is kept, and one block's inside at a time.
    """
    text = config.get_text_config()
    hidden, blocks = int(text.hidden_size), int(text.num_hidden_layers)
    scale = BYTES.get(computed, 4) // 2
    inside = STORED_PER_HIDDEN * hidden * tokens * scale
    return inside + blocks * 2 * hidden * tokens * scale if checkpointing else inside * blocks
