import json
from pathlib import Path

import pytest
from PIL import Image

from holdfast.data.rows import read_prompts, read_rows, read_table
from holdfast.errors import DataError
from holdfast.evaluate.file_problems import FileProblems

ASK = {"role": "user", "content": "2 + 2?"}
SYSTEM = {"role": "system", "content": "Be brief."}
REPLY = {"role": "assistant", "content": "4"}


def write(path: Path, *rows: object) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [ASK], "completion": [REPLY]},
        {"prompt": [ASK], "completion": "4"},
        {"messages": [ASK, REPLY]},
        {
            "id": "1",
            "image": None,
            "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}],
        },
    ],
)
def test_every_form_of_row_gives_the_same_example(tmp_path, row):
    (example,) = read_rows(write(tmp_path / "a.jsonl", row))
    assert (example.prompt, example.completion) == ((ASK,), "4")
    assert example.source == f"{tmp_path / 'a.jsonl'}:1"


def test_earlier_turns_are_prompt_and_only_the_last_answer_is_learned(tmp_path):
    (example,) = read_rows(
        write(tmp_path / "a.jsonl", {"messages": [SYSTEM, ASK, REPLY, ASK, {**REPLY, "content": "four"}]})
    )
    assert example.prompt == (SYSTEM, ASK, REPLY, ASK)
    assert example.completion == "four"


def test_blank_lines_byte_order_mark_carriage_returns_and_line_separators_do_no_harm(tmp_path):
    text = '\ufeff{"prompt": "a\u2028b", "completion": "c"}\r\n\n   \n{"prompt": "d", "completion": "e"}'
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    first, second = read_rows(tmp_path / "a.jsonl")
    assert first.prompt[0]["content"] == "a\u2028b"
    assert second.source.endswith(":4")


def test_a_published_file_that_is_one_json_list_is_read(tmp_path):
    rows = [{"prompt": str(n), "completion": "x"} for n in range(3)]
    (tmp_path / "data.json").write_text(json.dumps(rows, indent=1))
    assert [example.prompt[0]["content"] for example in read_rows(tmp_path / "data.json")] == ["0", "1", "2"]


def test_further_keys_are_columns(tmp_path):
    (row,) = read_table(write(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b", "level": 3}))
    assert row.columns == {"level": 3}


BAD = [
    ('{"prompt": "a", ', "not JSON"),
    ([1], "this is a list"),
    ({"prompt": "a"}, "its keys are: prompt"),
    ({"text": "a"}, "its keys are: text"),
    ({"prompt": "a", "completion": " \n"}, "completion is empty"),
    ({"prompt": "", "completion": "a"}, "prompt is empty"),
    ({"prompt": 3, "completion": "a"}, "prompt is a number"),
    ({"prompt": "a", "completion": None}, "completion is null"),
    ({"prompt": "a", "completion": [ASK]}, "completion must be one assistant message, found: user"),
    ({"messages": [ASK]}, "must end with the assistant's answer, found: user"),
    ({"messages": []}, "found: no message"),
    ({"messages": [REPLY]}, "no message before the answer"),
    ({"messages": "hi"}, "messages is a string"),
    ({"messages": [{"role": "tool", "content": "x"}, REPLY]}, 'has the role "tool"'),
    ({"messages": [{"role": "user"}, REPLY]}, "needs role and content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}, REPLY]}, "is a list, not text"),
    ({"conversations": [{"from": "robot", "value": "x"}]}, 'is from "robot"'),
    ({"image": "a.png", "prompt": "x", "completion": "y"}, "No such file"),
    ({"image": "https://x.org/a.png", "prompt": "x", "completion": "y"}, "no local path"),
    ({"images": [1], "prompt": "x", "completion": "y"}, "list of paths"),
    ('{"prompt": "\\ud800", "completion": "a"}', "lone surrogate (U+D800)"),
    ('{"a":' * 5000, "nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "says"), BAD, ids=[says for _, says in BAD])
def test_a_malformed_row_is_named_with_what_was_found(tmp_path, row, says):
    path = write(tmp_path / "a.jsonl", {"prompt": "good", "completion": "row"}, row)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert f"{path}: 1 row of 2" in str(caught.value)
    assert "line 2: " in str(caught.value)
    assert says in str(caught.value)


def test_bytes_that_are_no_utf8_are_named_by_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "\xff", "completion": "b"}\n')
    with pytest.raises(DataError, match=r"line 2: not UTF-8 \(byte 0xff at column 13\)"):
        read_rows(tmp_path / "a.jsonl")


def test_ten_bad_rows_are_named_at_once_and_the_rest_counted(tmp_path):
    with pytest.raises(DataError) as caught:
        read_rows(write(tmp_path / "a.jsonl", *[{"prompt": "a"}] * 13))
    assert len(str(caught.value).splitlines()) == 1 + 10 + 1
    assert "and 3 more" in str(caught.value)


def test_an_empty_or_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(write(tmp_path / "a.jsonl", "", "  "))
    with pytest.raises(DataError, match="No such file"):
        read_rows(tmp_path / "b.jsonl")


def test_published_rows_of_both_worlds_in_one_list_are_read(tmp_path):
    card = '{\n  "cards": ["4", "3", "2", "10"],\n  "formula": "4*3+2+10=24",\n}'
    step = '{\n  "current observation": "No landmarks nearby; ",\n  "action": "turn_direction(north)",\n}'
    rows = [
        {
            "id": str(number),
            "image": None,
            "conversations": [{"from": "human", "value": f"Question {number}"}, {"from": "gpt", "value": answer}],
        }
        for number, answer in enumerate((card, step))
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    read = read_table(tmp_path / "data.json")
    assert [row.example.completion for row in read] == [card, step]
    assert [row.example.prompt[0]["content"] for row in read] == ["Question 0", "Question 1"]
    assert [row.columns["id"] for row in read] == ["0", "1"]


def test_pictures_of_a_row_stand_before_its_first_user_message(tmp_path):
    for name, color in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (7, 5), color).save(tmp_path / name)
    llava = [{"from": "human", "value": "<image>\nWhich color?"}, {"from": "gpt", "value": "Red."}]
    messages = [{"role": "system", "content": "Look."}, {"role": "user", "content": "Which?"}]
    rows = read_rows(
        write(
            tmp_path / "rows.jsonl",
            {"image": "a.png", "conversations": llava},
            {"images": ["a.png", "b.png"], "prompt": messages, "completion": "Red and blue."},
        )
    )
    (asked,) = rows[0].prompt
    assert asked["content"] == "Which color?"
    assert [picture.words() for picture in asked["images"]] == ["a.png"]
    assert asked["images"][0].size == (7, 5)
    assert asked["images"][0].render().getpixel((0, 0)) == (255, 0, 0)
    assert "images" not in rows[1].prompt[0]
    assert [picture.words() for picture in rows[1].prompt[1]["images"]] == ["a.png", "b.png"]
    before = FileProblems(str(tmp_path / "rows.jsonl")).sample("as written", "test", 0, seed=0).key
    Image.new("RGB", (7, 5), "green").save(tmp_path / "a.png")
    assert FileProblems(str(tmp_path / "rows.jsonl")).sample("as written", "test", 0, seed=0).key != before


def test_marks_that_do_not_fit_the_pictures_are_refused(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    row = {"image": "a.png", "prompt": "<image><image> Which?", "completion": "Red."}
    with pytest.raises(DataError, match="1 pictures and 2 marks"):
        read_rows(write(tmp_path / "rows.jsonl", row))


def test_prompts_may_stand_without_answers(tmp_path):
    rows = [
        {"prompt": "one"},
        {"prompt": "two", "completion": "zwei"},
        {"messages": [{"role": "user", "content": "three"}]},
        {"messages": [{"role": "user", "content": "four"}, {"role": "assistant", "content": "vier"}]},
        {"conversations": [{"from": "human", "value": "five"}]},
        {"problem": "six", "answer": "6"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = read_prompts(file)
    assert [[message["content"] for message in one.prompt] for one in examples] == [
        ["one"], ["two"], ["three"], ["four"], ["five"], ["six"],
    ]  # fmt: skip
    assert [one.completion for one in examples] == ["one", "zwei", "three", "vier", "five", "6"]


def test_a_prompt_that_asks_nothing_is_named_by_its_line(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "one"}\n{"text": "two"}\n{"messages": []}\n{"prompt": " "}\n')
    with pytest.raises(DataError, match=r"3 rows of 4 cannot be used") as told:
        read_prompts(file)
    assert all(f"line {number}:" in str(told.value) for number in (2, 3, 4))
