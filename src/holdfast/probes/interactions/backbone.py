"""How well a set of interactions alone would answer: the loss of the target when nothing else speaks.

v̂ = v(∅) + Σ over the set of I is the log-odds that the set gives the whole prompt, and its loss is
−log σ(v̂) = log(1 + exp(−v̂)). Seed 003's authors report that the preserved set alone has the lowest test loss.

Shapes: ``P`` prompts, ``2`` AND and OR, ``M`` subsets.
"""

from __future__ import annotations

import numpy as np

from holdfast.probes.interactions.salience import Signs
from holdfast.probes.interactions.sets import part
from holdfast.probes.interactions.transforms import Array


def loss_of_set(values_PM: Array, interactions_P2M: Array, members: Signs) -> Array:
    """Return log(1 + exp(−v̂)) of each prompt, (P,), in nats.

    Args:
        values_PM: Outputs of all masks; that without any word is the set's starting point.
        interactions_P2M: All interactions; at all words each counts, whatever its kind.
        members: The set.
    """
    told_P = values_PM[:, 0] + part(interactions_P2M, members).sum(axis=(1, 2))
    loss_P: Array = np.logaddexp(0.0, -told_P)
    return loss_P
