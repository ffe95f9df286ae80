"""Common beginnings: found exactly, never reaching what is learned, and counted as they would be computed."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.data.encode import Encoded
from holdfast.data.prefixes import Prefixes, shared_prefixes, worthwhile

TOKENS = st.lists(st.integers(0, 1), min_size=0, max_size=5)


@st.composite
def _row(draw: st.DrawFn) -> Encoded:
    stem = draw(st.sampled_from([(), (0,) * 4, (0,) * 6, (0, 0, 1, 1), (1,) * 7]))
    ids = (*stem, *draw(TOKENS), draw(st.integers(0, 1)))
    return Encoded(ids, draw(st.integers(0, len(ids))))


def _positions(rows: list[Encoded], branch: int) -> int:
    """The count by its definition: distinct needed beginnings that begin no other needed one."""
    needed = {row.input_ids[: max(0, len(row.input_ids) - branch)] for row in rows} - {()}
    alone = [a for a in needed if not any(a != b and b[: len(a)] == a for b in needed)]
    return len(alone) * max(map(len, needed), default=0) + len(rows) * branch


@given(st.lists(_row(), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_other_cut_computes_fewer_positions(rows: list[Encoded]) -> None:
    found = shared_prefixes(rows)
    least = max(1, *(min(len(row.input_ids), row.n_learned + 1) for row in rows))
    assert found.computed == min(_positions(rows, branch) for branch in range(least, found.longest + 1))
    for row, leader, length in zip(rows, found.of_row, found.length, strict=True):
        assert row.input_ids[:length] == rows[leader].input_ids[:length]
        assert length <= found.length[leader]
        assert found.of_row[leader] == leader
        assert length <= max(0, row.n_prompt - 1)
        assert len(row.input_ids) - length <= found.branch


def test_steps_of_a_route_share_the_longest_prompt() -> None:
    random = Random(0)
    route = [random.randrange(100) for _ in range(120)]
    rows = [Encoded((*route[: 20 + 10 * step], 100 + step, 7), 21 + 10 * step) for step in range(10)]
    found = shared_prefixes(rows)
    assert found.n_prefixes == 1
    assert set(found.of_row) == {9}
    assert found.branch == 2
    assert found.length == tuple(20 + 10 * step for step in range(10))


def test_rows_that_begin_apart_gain_nothing() -> None:
    rows = [Encoded((n, 1, 2, 3, 4, 5), 4) for n in range(4)]
    found = shared_prefixes(rows)
    assert found.computed == found.padded == 24
    assert not worthwhile([found])


def test_a_step_shares_only_if_it_pays_over_all_its_micro_batches() -> None:
    good = Prefixes((0, 0), (6, 6), 10, 4)
    bad = Prefixes((0, 1), (6, 6), 10, 4)
    assert worthwhile([good])
    assert worthwhile([good, bad])
    assert not worthwhile([good, *[bad] * 5])
