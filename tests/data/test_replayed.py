"""Replayed rows: their share of every window, their order, and what it does not depend on."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import pytest

from holdfast.data.batches import Batches
from holdfast.data.encode import Encoded
from holdfast.data.order import epoch_length, rows_of_epoch
from holdfast.data.replayed import Replayed
from holdfast.data.sources import TokenRows


class Counting(TokenRows):
    """Rows whose tokens say which they are, and which were read."""

    def __init__(self, count: int, first: int, *, each: int = 1) -> None:
        super().__init__([Encoded((first + number, 1), 1) for number in range(count)], each=each)
        self.read: set[int] = set()

    def take(self, indices):
        self.read |= set(indices)
        return super().take(indices)


def mixed(main=40, other=7, share=0.05, *, each=1, other_each=1):
    return Replayed(Counting(main, 1_000, each=each), Counting(other, 5_000, each=other_each), share=share)


def numbers(source, steps=50, *, rows=3, accumulation=1, processes=1, cursor=None, seed=4):
    every = []
    for process in range(processes):
        stream = Batches(
            source, seed=seed, per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation,
            process_index=process, num_processes=processes,
        )  # fmt: skip
        if cursor is not None:
            stream.seek(cursor)
        every.append([[n for batch in stream.next_step() for n in batch.row_numbers] for _ in range(steps)])
    return [n for step in zip(*every, strict=True) for own in step for n in own]


def replayed(source, read):
    return [number >= len(source.main) for number in read]


@pytest.mark.parametrize("share", [0.05, 0.01, 0.3, 1 / 3, 0.5, 0.97])
def test_every_window_of_the_order_holds_the_share_as_exactly_as_whole_rows_can(share: float) -> None:
    source = mixed(main=17, other=5, share=share)
    marks = list(itertools.accumulate(replayed(source, numbers(source, 400)), initial=0))
    exact = Fraction(str(share))
    for width in (1, 2, 7, 19, 20, 21, 100, 333):
        seen = {marks[at + width] - marks[at] for at in range(len(marks) - width)}
        assert seen <= {math.floor(width * exact), math.ceil(width * exact)}, width


def test_five_percent_is_every_twentieth_row() -> None:
    source = mixed(share=0.05)
    places = [place for place, other in enumerate(replayed(source, numbers(source, 40)), 1) if other]
    assert places == [20, 40, 60, 80, 100, 120]


def test_rows_depend_neither_on_accumulation_nor_on_ranks() -> None:
    source = mixed(share=0.3)
    one = numbers(source, 20, rows=12)
    assert one == numbers(source, 20, rows=3, accumulation=4) == numbers(source, 20, rows=6, processes=2)
    assert one == numbers(source, 80, rows=3)


def test_a_stream_that_goes_on_from_any_cursor_reads_what_an_unbroken_one_reads() -> None:
    source = mixed(main=11, other=3, share=0.3)
    whole = numbers(source, 60, rows=5)
    stream = Batches(source, seed=4, per_device_train_batch_size=5)
    for step in range(50):
        assert numbers(source, 10, rows=5, cursor=stream.cursor) == whole[5 * step : 5 * step + 50]
        stream.next_step()


def test_rows_of_the_data_come_in_the_order_that_they_have_without_replay() -> None:
    source = mixed(share=0.3)
    with_replay = [n for n in numbers(source, 40) if n < len(source.main)]
    assert with_replay == numbers(source.main, 40)[: len(with_replay)]


def test_both_parts_are_read_whole_before_a_row_comes_again() -> None:
    source = mixed(main=12, other=5, share=0.3)
    read = numbers(source, 200)
    for part in ([n for n in read if n < 12], [n for n in read if n >= 12]):
        size = len(set(part))
        for at in range(0, len(part) - size + 1, size):
            assert set(Counter(part[at : at + size]).values()) == {1}


def test_an_epoch_has_as_many_rows_as_the_data_so_a_budget_buys_the_same_steps() -> None:
    source = mixed(main=40, share=0.3)
    assert epoch_length(source) == len(rows_of_epoch(source, seed=0, epoch=3)) == 40 == epoch_length(source.main)


def test_rows_of_a_problem_stay_in_order_but_for_a_replayed_row_between_them() -> None:
    source = mixed(main=30, each=3, share=0.1)
    main = [n for n in numbers(source, 20) if n < 30]
    assert all(main[at : at + 3] == [main[at], main[at] + 1, main[at] + 2] for at in range(0, len(main) - 2, 3))
    assert all(main[at] % 3 == 0 for at in range(0, len(main), 3))


def test_replay_of_several_rows_a_problem_reads_them_in_order() -> None:
    source = mixed(main=30, other=6, other_each=2, share=0.5)
    other = [n - 30 for n in numbers(source, 20) if n >= 30]
    assert all(other[at] + 1 == other[at + 1] for at in range(0, len(other), 2))


def test_preparing_reads_every_row_that_the_run_will() -> None:
    source = mixed(main=12, other=30, share=0.05)
    stream = Batches(source, seed=0, per_device_train_batch_size=3)
    stream.prepare(10_000)
    assert (len(source.main.read), len(source.other.read)) == (12, 30)
    few = mixed(main=12, other=30, share=0.05)
    Batches(few, seed=0, per_device_train_batch_size=3).prepare(7)
    assert len(few.other.read) == 1


def test_rows_are_taken_from_their_own_source_in_the_order_asked() -> None:
    source = mixed(main=3, other=2)
    assert [row.input_ids[0] for row in source.take([4, 0, 3, 2, 4])] == [5_001, 1_000, 5_000, 1_002, 5_001]
    assert (len(source), list(source.starts)) == (5, [0, 1, 2, 3, 4])


def test_the_fingerprint_tells_share_and_both_parts_apart() -> None:
    prints = [rows.fingerprint() for rows in (mixed(), mixed(share=0.06), mixed(other=8), mixed(main=41))]
    assert len(set(prints)) == 4
    assert mixed().fingerprint() == prints[0] != mixed().main.fingerprint()


@pytest.mark.parametrize("share", [0, 1, -0.1, 2])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie in"):
        mixed(share=share)
