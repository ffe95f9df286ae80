"""What each parameter of a model is for: its role and its decoder block.

A role is told from the structure of the module tree (``models/structure.py``), never from a list of models. What cannot
be told is an error: a wrong role is worse than a refusal. This file imports no torch at run time, so that a selection
can be checked in a moment.

Where things belong:

- The bias of a module has the role of the module.
- A norm is ``norm`` wherever it stands: block norms, query and key norms inside attention, norms inside a state-space
  mixer, the latent norms of multi-head latent attention, the final norm.
- ``attention`` is every other parameter inside a self-attention module: query, key, value and output projections, fused
  or not, latent projections, sinks, gates.
- ``cross_attention`` is the same for attention over another sequence (Mllama's images), and the scalar gates that blend
  such a block into the stream.
- ``mlp`` is a feed-forward network: dense, routed experts, shared experts.
- ``router`` is what chooses or weighs experts, the gate of a shared expert included.
- ``mixer`` is everything but the norms in a state-space, linear-recurrent or convolution mixer: ``A_log``, ``D``,
  ``dt_bias``, the short convolution, its projections.
- ``embedding`` are token, position and type tables outside the blocks, and the projections that bring per-layer
  embeddings into the blocks (Gemma 3n and 4); ``head`` is the output projection.
- ``vision`` and ``audio`` are everything inside a tower, its own norms and patch merger included; ``projector`` is what
  joins a tower to the language model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a parameter is for."""

    ATTENTION = "attention"
    CROSS_ATTENTION = "cross_attention"
    MLP = "mlp"
    ROUTER = "router"
    MIXER = "mixer"
    NORM = "norm"
    EMBEDDING = "embedding"
    HEAD = "head"
    VISION = "vision"
    AUDIO = "audio"
    PROJECTOR = "projector"


IN_BLOCKS = frozenset({Role.ATTENTION, Role.CROSS_ATTENTION, Role.MLP, Role.ROUTER, Role.MIXER})
"""Roles whose matrices stand in the decoder's blocks: those that what looks at singular vectors is about."""
TOWERS = frozenset({Role.VISION, Role.AUDIO})
"""Roles that have blocks of their own, counted apart from the decoder's."""
STACKED = frozenset({Role.MLP, Role.ROUTER})
"""Roles whose tensors of three dimensions are stacks of matrices, one an expert."""


@dataclass(frozen=True)
class ParameterRole:
    """One tensor of a model. Tied names are one tensor, and one entry.

    Attributes:
        name: As in ``model.named_parameters()``: the first of its names.
        role: Told from ``name``.
        layer: Index of the decoder block; inside a tower, the index of the tower's block (counted on through all of
            the tower's stacks); None outside the blocks.
        shape: Of the tensor.
        tied: Other names of the same tensor.
        tied_roles: The roles that those names have, in the same order (an embedding that is also the head).
    """

    name: str
    role: Role
    layer: int | None
    shape: tuple[int, ...]
    tied: tuple[str, ...] = ()
    tied_roles: tuple[Role, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tied) != len(self.tied_roles):
            raise ValueError(f"{self.name}: {len(self.tied)} tied names need as many roles, got {self.tied_roles}")

    @property
    def n_parameters(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)

    @property
    def matrices(self) -> int:
        """How many matrices it is: 1, the experts of a stack, or 0 for vectors, convolutions and biases of any form."""
        stack = len(self.shape) == 3 and self.role in STACKED
        if not (stack or len(self.shape) == 2) or min(self.shape[-2:]) <= 1 or self.name.endswith("bias"):
            return 0
        return self.shape[0] if stack else 1
