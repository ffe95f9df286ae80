import json
import random
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import pytest
import torch

from holdfast.data.batches import Batches, collate
from holdfast.data.encode import Encoded
from holdfast.data.order import order
from holdfast.data.sources import EnvironmentRows, ExampleRows, source_of
from holdfast.environments.base import Revision
from holdfast.errors import DataError, UserError
from holdfast.models import word_tokenizer
from holdfast.recipe import Data
from holdfast.records import Example, Message, Outcome, Problem, Verdict

TOKENIZER = word_tokenizer.build(["twice thrice"])


@dataclass(frozen=True)
class Doubling:
    name: ClassVar[str] = "doubling"
    multi_step: ClassVar[bool] = False
    rules: tuple[str, ...] = ("twice", "thrice")
    word: str = ""

    def sample(self, rule, split, index, *, seed):
        number = Random(f"{seed} {split} {index}").randrange(100)
        return Problem(self.name, rule, split, index, seed, key=str(number), facts={"number": number})

    def prompt(self, problem):
        return (Message(role="user", content=f"{problem.rule} {self.word}{problem.facts['number']}"),)

    def steps(self, problem):
        return (problem,)

    def begin(self, problem, *, attempts=1):
        return Revision.start(self, problem, attempts=attempts)

    def demonstrate(self, problem):
        return str(problem.facts["number"] * {"twice": 2, "thrice": 3}[problem.rule])

    def verify(self, problem, reply):
        right = reply.strip() == self.demonstrate(problem)
        return Verdict(Outcome.CORRECT if right else Outcome.WRONG, float(right), "right" if right else "wrong", "")


def rows_of(environment, *, size=50, seed=0, rule="twice"):
    return EnvironmentRows(environment, rule=rule, split="train", seed=seed, size=size, tokenizer=TOKENIZER)


def batches(size=10, **options):
    return Batches(rows_of(Doubling(), size=size), seed=0, **{"per_device_train_batch_size": 3, **options})


def numbers(step):
    return [number for batch in step for number in batch.row_numbers]


def test_collate_pads_right_and_labels_only_what_is_learned():
    batch = collate([Encoded((5, 6, 7), 1), Encoded((8, 9, 10, 11, 12), 4)], pad_token_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [[-100, 6, 7, -100, -100], [-100, -100, -100, -100, 12]]
    assert (batch.n_targets, batch.n_tokens, batch.n_computed) == (3, 8, 10)


def test_the_first_token_of_a_row_is_never_a_target():
    assert collate([Encoded((5, 6, 7), 0)], pad_token_id=0).n_targets == 2


def test_every_epoch_reads_every_row_once_and_all_batches_have_the_same_size():
    stream = batches(size=10, gradient_accumulation_steps=2)
    steps = [stream.next_step() for _ in range(5)]  # 30 rows: three epochs
    read = [n for step in steps for n in numbers(step)]
    assert [len(batch.row_numbers) for step in steps for batch in step] == [3] * 10
    for epoch in range(3):
        assert sorted(read[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert read[:10] != read[10:20]


def test_a_batch_may_be_larger_than_the_source():
    step = batches(size=2, per_device_train_batch_size=7).next_step()
    assert Counter(numbers(step)).most_common() in ([(0, 4), (1, 3)], [(1, 4), (0, 3)])


def test_going_on_from_a_saved_cursor_reads_what_an_unbroken_run_reads():
    whole, broken = batches(), batches()
    for _ in range(5):
        whole.next_step()
        broken.next_step()
    resumed = batches()
    resumed.seek(json.loads(json.dumps(broken.cursor)))
    for _ in range(6):
        a, b = whole.next_step(), resumed.next_step()
        assert numbers(a) == numbers(b)
        assert all(torch.equal(x.input_ids, y.input_ids) for x, y in zip(a, b, strict=True))


def test_a_cursor_beyond_the_source_is_refused():
    with pytest.raises(DataError, match="no place"):
        batches(size=10).seek({"epoch": 0, "index": 10})


def test_the_order_is_a_pure_function_of_seed_and_epoch_and_leaves_global_state_alone():
    before = random.getstate()
    order.cache_clear()
    first = order(1000, seed=1, epoch=2)
    order.cache_clear()
    assert order(1000, seed=1, epoch=2) == first
    assert len({order(1000, seed=s, epoch=e) for s in (1, 2) for e in (1, 2)}) == 4
    assert random.getstate() == before


def test_the_order_is_the_recorded_one():
    # Recorded once: old runs can be continued only as long as this holds.
    assert order(10, seed=0, epoch=0) == RECORDED


def test_processes_share_out_the_rows_of_a_step():
    one = batches(gradient_accumulation_steps=2, per_device_train_batch_size=4)
    two = [
        batches(gradient_accumulation_steps=2, per_device_train_batch_size=2, process_index=p, num_processes=2)
        for p in (0, 1)
    ]
    for _ in range(4):
        shares = [numbers(part.next_step()) for part in two]
        assert sorted(shares[0] + shares[1]) == sorted(numbers(one.next_step()))
        assert one.cursor == two[0].cursor == two[1].cursor


def test_preparing_changes_neither_the_cursor_nor_the_rows():
    plain, prepared = batches(), batches()
    prepared.prepare(100)
    assert prepared.cursor == {"epoch": 0, "index": 0}
    assert [numbers(plain.next_step()) for _ in range(5)] == [numbers(prepared.next_step()) for _ in range(5)]


def test_only_rows_that_are_read_are_sampled():
    @dataclass(frozen=True)
    class Counting(Doubling):
        def sample(self, rule, split, index, *, seed):
            sampled.append(index)
            return super().sample(rule, split, index, seed=seed)

    sampled: list[int] = []
    stream = Batches(rows_of(Counting(), size=1000), seed=0, per_device_train_batch_size=4)
    stream.prepare(3)
    for _ in range(3):
        stream.next_step()
    assert len(sampled) == len(set(sampled)) == 12


def test_environment_rows_learn_the_demonstration():
    rows = rows_of(Doubling())
    (row,) = rows.take([7])
    assert TOKENIZER.decode(row.input_ids[row.n_prompt :], skip_special_tokens=True) == rows.example(7).completion


def test_fingerprints_tell_apart_what_is_learned_and_nothing_else():
    same = [rows_of(Doubling()).fingerprint() for _ in range(2)]
    others = [
        rows_of(Doubling(), size=51), rows_of(Doubling(), seed=1), rows_of(Doubling(), rule="thrice"),
        rows_of(Doubling(word="the ")),
    ]  # fmt: skip
    assert same[0] == same[1]
    assert len({same[0], *(other.fingerprint() for other in others)}) == 5
    question = (Message(role="user", content="a"),)
    files = [
        ExampleRows([Example(question, text, source)], TOKENIZER)
        for text, source in [("b", "x:1"), ("b", "y:2"), ("c", "x:1")]
    ]
    assert files[0].fingerprint() == files[1].fingerprint() != files[2].fingerprint()


def test_a_recipe_block_names_a_file_or_an_environment_but_not_both(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    source = source_of(Data(path=str(tmp_path / "a.jsonl")), rules=(), tokenizer=TOKENIZER)
    assert len(source) == 1
    for data in (Data(), Data(path="x", environment="general_points")):
        with pytest.raises(UserError, match="either an environment with a rule, or a path"):
            source_of(data, rules=(), tokenizer=TOKENIZER)


def test_an_empty_source_is_refused():
    with pytest.raises(DataError, match="no rows to learn from"):
        batches(size=0)


RECORDED = (4, 7, 5, 6, 3, 1, 8, 2, 0, 9)
