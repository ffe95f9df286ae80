"""What is learned from drawn answers, as pure functions of them; and the file that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import RunFolderError
from holdfast.methods.drawn import Answer, Question, facts, kept, pairs
from holdfast.methods.drawn_file import DrawnFile


def answer(text: str, *, right: bool, reward: float | None = None, finished: bool = True) -> Answer:
    return Answer((len(text), 99), text, right, float(right) if reward is None else reward, finished)


GOOD, BETTER, BAD, WORSE = (
    answer("good", right=True, reward=1.0),
    answer("even better", right=True, reward=3.0),
    answer("bad one", right=False, reward=-1.0),
    answer("worst one", right=False, reward=-2.0),
)


def texts(question: Question, rows: Any) -> list[str]:
    of = {question.row(one).input_ids: one.text for one in question.answers}
    return [of[row.input_ids] for row in rows]


def test_only_right_answers_are_kept_each_text_once_and_no_more_than_asked() -> None:
    question = Question(3, (1, 2), (BAD, GOOD, GOOD, BETTER, BAD))
    assert texts(question, kept([question], by="success", most=None).rows) == ["good", "even better"]
    assert texts(question, kept([question], by="success", most=1).rows) == ["good"]
    assert kept([question], by="success", most=None).weights == (1.0, 1.0)


def test_the_same_text_to_another_question_is_another_row() -> None:
    both = [Question(0, (1,), (GOOD,)), Question(0, (2,), (GOOD,))]
    assert [row.input_ids[0] for row in kept(both, by="success", most=1).rows] == [1, 2]


def test_graded_answers_weigh_as_their_rewards_with_a_mean_of_one() -> None:
    found = kept([Question(0, (1,), (GOOD, BETTER, BAD))], by="verdict", most=None)
    assert found.weights == (0.5, 1.5)


def test_an_answer_that_was_cut_off_is_never_a_good_one() -> None:
    cut = answer("right so far", right=True, finished=False)
    assert kept([Question(0, (1,), (cut,))], by="success", most=None).rows == ()
    assert pairs([Question(0, (1,), (cut, BAD))], by="success", most=4) == []
    (pair,) = pairs([Question(0, (1,), (GOOD, answer("rambles", right=False, finished=False)))], by="success", most=4)
    assert pair.rejected.input_ids == (1, 7, 99)


def test_pairs_are_right_against_wrong_and_spread_over_the_answers() -> None:
    question = Question(0, (1,), (WORSE, GOOD, BAD, BETTER))
    found = pairs([question], by="success", most=9)
    assert len(found) == 4
    first = [texts(question, pair) for pair in pairs([question], by="success", most=2)]
    assert first == [["good", "worst one"], ["even better", "bad one"]]
    by_reward = [texts(question, pair) for pair in pairs([question], by="verdict", most=9)]
    assert len(by_reward) == 6
    assert ["even better", "good"] in by_reward
    assert pairs([Question(0, (1,), (GOOD, BETTER))], by="success", most=4) == []


def test_the_facts_count_answers_problems_and_texts() -> None:
    told = facts([Question(4, (1,), (GOOD, GOOD, BAD)), Question(7, (2,), (BETTER,)), Question(9, (3,), (WORSE,))])
    assert (told["answers"], told["right"], told["distinct"], told["distinct_right"]) == (5, 3, 4, 2)
    assert (told["problems"], told["problems_ever_right"], told["problems_always_right"]) == (3, 2, 1)
    assert told["right_of_problem"] == {"4": [2, 3], "7": [1, 1], "9": [0, 1]}


QUESTIONS = [Question(0, (1, 2), (GOOD, BAD)), Question(1, (3,), (answer("\u2028 odd \u00e9", right=True),))]
LINES = [json.loads(json.dumps(question.to_json())) for question in QUESTIONS]


def test_what_was_written_is_read_and_nothing_else_is(tmp_path: Path) -> None:
    file = DrawnFile(tmp_path, {"seed": 0})
    assert file.read() is None
    file.finish(QUESTIONS)
    assert [Question.from_json(line) for line in file.read() or []] == QUESTIONS
    assert DrawnFile(tmp_path, {"seed": 1}).read() is None
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(RunFolderError, match="seed was 0 and is 1"):
        DrawnFile(tmp_path, {"seed": 1}).read()


def test_a_damaged_file_counts_as_not_there(tmp_path: Path) -> None:
    file = DrawnFile(tmp_path, {"seed": 0})
    file.finish(QUESTIONS)
    whole = file.path.read_text()
    for broken in (whole.replace("bad one", "bad two"), whole[: len(whole) // 2], "", "[]\n", whole.splitlines()[0]):
        file.path.write_text(broken)
        assert file.read() is None


@pytest.mark.parametrize("lost", [0, 1, 5, 200, 10_000])
def test_parts_that_are_whole_are_kept_and_a_torn_one_is_cut_off(tmp_path: Path, lost: int) -> None:
    file = DrawnFile(tmp_path, {"seed": 0})
    assert file.begin() == []
    file.add(0, LINES)
    whole = file.part.stat().st_size
    file.add(1, LINES)
    raw = file.part.read_bytes()
    file.part.write_bytes(raw[: max(0, len(raw) - lost)])
    left = max(0, len(raw) - lost)
    expected = 2 if left == len(raw) else 1 if left >= whole else 0
    assert file.begin() == [LINES] * expected
    file.add(expected, LINES)
    assert file.begin() == [LINES] * (expected + 1)
    assert DrawnFile(tmp_path, {"seed": 1}).begin() == []
