"""Which rows of a micro-batch begin alike, and how much computing that common part once would save.

A row is cut in two: a *prefix*, of which a longer or equal beginning of some row of the micro-batch is computed, and a
*branch*, its last tokens, which each row computes for itself. With B rows, the longest of T tokens, and branches of S
tokens, the prefixes have up to T - S tokens; of a prefix that begins another one nothing is computed. So with G that
remain, padding included, ::

    positions(S) = G(S) · (T - S) + B · S            against B · T

Row i stops needing a prefix of its own once its first len_i - S tokens are the beginning of another row's, so G falls
only at a few values of S, and the best S is one of them: the search is exact. S is never so short that a learned token,
or the prompt's last token, which predicts the first learned one, would be shared: shared tokens carry no loss.

No torch here: what is shared is a pure function of the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.data.encode import Encoded

WORTHWHILE = 1.15
"""Sharing starts at this many times fewer positions …"""
LEAST_SAVED = 256
"""… if it saves that many positions a batch: a second pass through all blocks has a price of its own, about 100
positions of a small model on a CPU. `benchmarks/shared_prefix.py` shows where sharing begins to pay."""


@dataclass(frozen=True)
class Prefixes:
    """How the rows of one micro-batch share their beginnings.

    Attributes:
        of_row: For each row, the number of the row (itself, perhaps) that begins with its prefix.
        length: For each row, the tokens of its prefix; 0 for none. The row computes the others itself.
        longest: T, tokens of the longest row.
        branch: S, tokens of the longest branch.
    """

    of_row: tuple[int, ...]
    length: tuple[int, ...]
    longest: int
    branch: int

    @property
    def n_prefixes(self) -> int:
        """G, the number of distinct prefixes that are computed."""
        return len({row for row, length in zip(self.of_row, self.length, strict=True) if length})

    @property
    def computed(self) -> int:
        """Positions that two padded passes compute: G prefixes, then B branches."""
        return self.n_prefixes * max(self.length, default=0) + len(self.length) * self.branch

    @property
    def padded(self) -> int:
        """Positions that one padded pass computes: B · T."""
        return len(self.length) * self.longest


def shared_prefixes(rows: Sequence[Encoded]) -> Prefixes:
    """Return the sharing that computes the fewest positions.

    Args:
        rows: At least one. Where no two begin alike, each has its own prefix and as much is computed as without.

    Example:
        >>> rows = [Encoded((1, 2, 3, 4, 9), 4), Encoded((1, 2, 3, 5, 9), 4)]
        >>> shared_prefixes(rows)
        Prefixes(of_row=(0, 0), length=(3, 3), longest=5, branch=2)
    """
    joins, leads = _joins(rows)
    longest = max(len(row.input_ids) for row in rows)
    shortest = max(1, *(min(len(row.input_ids), row.n_learned + 1) for row in rows))
    cuts = sorted({shortest, *(join for join in joins if shortest < join <= longest)})

    def positions(branch: int) -> int:
        return sum(join > branch for join in joins) * (longest - branch) + len(rows) * branch

    branch = min(cuts, key=positions)
    of_row = []
    for number in range(len(rows)):
        leader = number
        while joins[leader] <= branch and leads[leader] != leader:
            leader = leads[leader]
        of_row.append(leader)
    length = tuple(
        _shared_length(row, rows[leader], longest - branch, branch) for row, leader in zip(rows, of_row, strict=True)
    )
    return Prefixes(tuple(of_row), length, longest, branch)


def _shared_length(row: Encoded, leader: Encoded, prefix: int, branch: int) -> int:
    """Return how much of the leader's prefix a row takes: all it can, for rows that branch off alike compute faster."""
    if len(leader.input_ids) <= branch:
        return 0  # it needs no prefix, so none is computed
    most = min(prefix, leader.n_prompt - 1, row.n_prompt - 1)
    return _in_common(row.input_ids[: max(0, most)], leader.input_ids)


def worthwhile(micro_batches: Sequence[Prefixes]) -> bool:
    """Return whether sharing pays over all micro-batches of an optimizer step (of all processes) together.

    One answer for the step, because sharded processes must all take the same passes through the model.
    """
    padded, computed = (
        sum(sizes) for sizes in zip(*((one.padded, one.computed) for one in micro_batches), strict=True)
    )
    return pays(padded=padded, computed=computed, batches=len(micro_batches))


def pays(*, padded: int, computed: int, batches: int) -> bool:
    """Return whether ``computed`` positions in ``batches`` shared batches are faster than ``padded`` ones without."""
    return padded >= WORTHWHILE * computed and padded - computed >= LEAST_SAVED * batches


def _joins(rows: Sequence[Encoded]) -> tuple[list[int], list[int]]:
    """Return, for each row, the shortest branch with which it needs no prefix of its own, and the row it then follows.

    A row follows the longer row (or an equal one of smaller number) with which it has most in common. In lexicographic
    order that is the nearest such row on either side, and what two rows have in common is the least of what neighbors
    between them have.
    """
    order = sorted(range(len(rows)), key=lambda number: rows[number].input_ids)
    common = [_in_common(rows[a].input_ids, rows[b].input_ids) for a, b in itertools.pairwise(order)]
    joins, leads = [len(row.input_ids) for row in rows], list(range(len(rows)))
    for place, number in enumerate(order):
        size = (len(rows[number].input_ids), -number)
        for step in (-1, 1):
            shared, at = size[0], place
            while 0 <= at + step < len(order):
                shared, at = min(shared, common[min(at, at + step)]), at + step
                other = order[at]
                if (len(rows[other].input_ids), -other) > size:
                    if size[0] - shared < joins[number]:
                        joins[number], leads[number] = size[0] - shared, other
                    break
    return joins, leads


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
