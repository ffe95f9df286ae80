"""The parameter-matched depth: eq. 3 of "SFT without overfitting".

.. math:: L = \\arg\\min_l \\left( N(\\theta_{target}) - N(\\theta^M_{0:l}) \\right)^2

``N(θ^M_{0:l})`` counts the parameters of module kind M (feed-forward networks, or whole blocks) in l blocks. Ours also
takes the last l blocks, or l blocks spread over the depth; of two depths equally near, the smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.models.roles import Role
from holdfast.selection.base import Start, take


@dataclass(frozen=True)
class Matched:
    """The outcome of eq. 3.

    Attributes:
        parameters_of: The roles that set the target.
        target: Their parameters over all blocks that run.
        start: Which blocks were taken.
        depth: L, the number of blocks.
        layers: Their indices.
        n_parameters: Parameters of the selection in these blocks.
        mismatch: ``(n_parameters - target) / target``.
    """

    parameters_of: tuple[Role, ...]
    target: int
    start: Start
    depth: int
    layers: tuple[int, ...]
    n_parameters: int
    mismatch: float


def matched_depth(counts: Mapping[int, int], target: int, *, start: Start = "first") -> int:
    """Return L of eq. 3, at least 1.

    Args:
        counts: Parameters of the module kind in each block, by block index. Blocks that do not run are not in it.
        target: Parameters to come near to.
        start: Which blocks a depth of l takes.

    Example:
        >>> matched_depth({layer: 176_160_768 for layer in range(40)}, 40 * 41_943_040)
        10
    """
    blocks = sorted(counts)

    def miss(depth: int) -> int:
        return abs(target - sum(counts[block] for block in take(blocks, depth, start=start)))

    return min(range(1, len(blocks) + 1), key=miss)
