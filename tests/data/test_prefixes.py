"""Common beginnings: found exactly, never reaching what is learned, and counted as they would be computed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.data.batches import Batches
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
    good = Prefixes((0, 0), (600, 600), 1000, 400)
    bad = Prefixes((0, 1), (600, 600), 1000, 400)
    assert worthwhile([good])
    assert worthwhile([good, bad])
    assert not worthwhile([good, *[bad] * 5])


def test_a_second_pass_is_not_made_for_a_few_positions() -> None:
    assert not worthwhile([Prefixes((0, 0), (60, 60), 70, 10)])


class _Rows:
    """Routes of three steps each: rows of one share a prefix of 200 tokens; routes share nothing."""

    def __init__(self, routes: int) -> None:
        self.starts = range(0, 3 * routes, 3)

    def __len__(self) -> int:
        return 3 * len(self.starts)

    def take(self, indices: Sequence[int]) -> list[Encoded]:
        return [Encoded((*[10 + index // 3] * 200, 3 + index % 3, 9), 201) for index in indices]

    def pictured(self) -> None:
        return None

    def fingerprint(self) -> str:
        return ""


def _batches(**options: Any) -> Batches:
    return Batches(_Rows(4), seed=0, **{"per_device_train_batch_size": 3, **options})


def test_batches_share_only_on_request_and_their_tensors_stay_the_padded_ones() -> None:
    (padded,), (shared,) = _batches().next_step(), _batches(share_prefixes="auto").next_step()
    assert padded.prefixes is None
    assert shared.prefixes is not None
    assert (shared.n_computed, padded.n_computed) == (200 + 3 * 2, 3 * 202)
    tensors = shared.tensors()
    assert tensors.pop("prefix_length").tolist() == [200] * 3
    assert len(set(tensors.pop("prefix_of_row").tolist())) == 1
    assert tensors.keys() == padded.tensors().keys()
    assert all(torch.equal(x, padded.tensors()[name]) for name, x in tensors.items())


def test_single_rows_are_padded_unless_sharing_is_forced() -> None:
    (alone,) = _batches(per_device_train_batch_size=1, share_prefixes="auto").next_step()
    assert alone.prefixes is None
    (forced,) = _batches(per_device_train_batch_size=1, share_prefixes="always").next_step()
    assert forced.prefixes is not None


def test_all_processes_of_a_step_share_or_none() -> None:
    """Two passes beside one would leave sharded ranks waiting for each other."""
    together = _batches(gradient_accumulation_steps=4, share_prefixes="auto")
    apart = [
        _batches(gradient_accumulation_steps=2, share_prefixes="auto", process_index=n, num_processes=2)
        for n in range(2)
    ]
    for _ in range(3):
        expected = [batch.prefixes for batch in together.next_step()]
        assert [batch.prefixes for one in apart for batch in one.next_step()] == expected
