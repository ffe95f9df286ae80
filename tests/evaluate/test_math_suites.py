"""Mathematics suites: named, in files and folders of their schemas, asked in the published wordings."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

import tiny_base
from holdfast.data.encode import encode_all, prompt_ids
from holdfast.errors import DataError, RecipeError, UnknownName, UserError
from holdfast.evaluate import math_suites
from holdfast.evaluate.evaluate import evaluate, score_replies
from holdfast.evaluate.math_answers import number, right_answer, same
from holdfast.evaluate.math_suites import MATH_SUITES, find_suite, read_problems
from holdfast.evaluate.prompt_styles import STYLES, find_style, styled
from holdfast.evaluate.suite import Suite, make
from holdfast.models import word_tokenizer
from holdfast.models.load import load
from holdfast.plan import check
from holdfast.recipe import Data, Recipe, SuiteSpec
from holdfast.records import RAW, Example, Message

ROWS = {
    "math-500": {
        "problem": "What is $1/4 + 1/4$?", "solution": r"Half: $\boxed{\frac{1}{2}}$.", "answer": r"\frac{1}{2}",
        "subject": "Prealgebra", "level": 1, "unique_id": "test/1",
    },
    "minerva-math": {"question": "Two meters and three?", "answer": "5"},
    "olympiadbench": {
        "id": 7, "context": "Let $x$ be real.", "question": "Solve $x^2 = 4$.", "solution": ["$x = -2$ or $x = 2$."],
        "final_answer": ["$-2$", "$2$"], "is_multiple_answer": True, "image_1": None, "unit": None,
    },
    "aime-2024": {"id": 60, "problem": "Half of 146?", "solution": "It is 73.", "answer": "073", "year": "2024"},
    "amc-2023": {"id": 0, "question": "Three nines?", "answer": 27.0, "url": ""},
}  # fmt: skip
RIGHT = {
    "math-500": r"\boxed{0.5}", "minerva-math": r"\boxed{5}", "olympiadbench": r"\boxed{2, -2}",
    "aime-2024": r"\boxed{73}", "amc-2023": r"\boxed{27}",
}  # fmt: skip


def write(folder: Path, name: str) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps(ROWS[name]) + "\n")
    return str(path)


def suite(path: str, **keys: object) -> Suite:
    spec = SuiteSpec.model_validate({"path": path, "purpose": "retention", "scorer": "math", **keys})
    return make("it", spec, data=Data(path="x"), rules_in_play=(), read_by_signal=False)


def success(asked: Suite, *replies: str) -> float | None:
    return score_replies(asked, [(reply,) for reply in replies]).estimates["eval_it_success"].value


@pytest.mark.parametrize("name", ROWS)
def test_a_file_of_each_published_schema_is_asked_and_graded(name: str, tmp_path: Path) -> None:
    asked = suite(write(tmp_path, name))
    assert success(asked, RIGHT[name]) == 1.0
    assert success(asked, r"\boxed{12345}") == 0.0


def test_what_a_problem_is_asked_with_and_learned_from() -> None:
    rows = {name: math_suites.rows_of([row], name)[0] for name, row in ROWS.items()}
    assert rows["olympiadbench"].example.prompt[0]["content"] == "Let $x$ be real.\nSolve $x^2 = 4$."
    assert rows["olympiadbench"].columns["answer"] == "$-2$, $2$"
    assert rows["math-500"].example.completion == ROWS["math-500"]["solution"]
    assert rows["minerva-math"].example.completion == "5"
    assert (rows["amc-2023"].columns["answer"], rows["math-500"].columns["level"]) == ("27", 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "", "answer": "5"}, "the problem is empty"),
        ({"problem": "2?", "answer": None}, "solution and answer are empty"),
        ({"problem": "2?", "answer": True}, "answer is a boolean, not text"),
        ({"problem": "2?"}, "or problem and solution; its keys are: problem"),
    ],
)
def test_a_row_of_mathematics_that_lacks_something_is_named(row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        math_suites.rows_of([row], "here")


def test_a_suite_is_found_by_its_name_and_by_its_hub_id() -> None:
    for name, entry in MATH_SUITES.items():
        assert find_suite(name) is entry
        assert entry.shipped or find_suite(entry.source.upper()) is entry
    assert find_suite("elsewhere/MATH-500") is None


def test_a_named_suite_is_loaded_by_its_id_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(source: str) -> object:
        asked.append(source)
        row = ROWS["aime-2024"]
        return datasets.DatasetDict({"train": datasets.Dataset.from_list([row])})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert success(suite("aime-2024"), "It is 73.") == 1.0
    assert asked == ["HuggingFaceH4/aime_2024"]
    with pytest.raises(DataError, match=r"MATH-500 has no split test; it has train"):
        read_problems("math-500")


def test_the_folder_of_a_data_set_is_read_like_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.jsonl").write_text(json.dumps(ROWS["olympiadbench"]) + "\n")
    assert success(suite(str(tmp_path / "set")), RIGHT["olympiadbench"]) == 1.0


def test_offline_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(source: str) -> None:
        raise ConnectionError(f"Couldn't reach '{source}' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"(?s)HuggingFaceH4/MATH-500: ConnectionError.*path of a \.jsonl"):
        read_problems("math-500")


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_suites.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"holdfast\[data\]"):
        suite("math-500")


# --- the problems of our own


def test_worked_math_has_ten_problems_a_level_and_answers_of_every_kind() -> None:
    rows = read_problems("worked-math")
    assert len(rows) == MATH_SUITES["worked-math"].problems == len({row.example.prompt[0]["content"] for row in rows})
    assert Counter(row.columns["level"] for row in rows) == {1: 10, 2: 10, 3: 10, 4: 10}
    kinds = {
        "integer",
        "fraction",
        "decimal",
        "percent",
        "radical",
        "interval",
        "tuple",
        "expression",
        "set",
        "complex",
    }
    assert kinds <= {row.columns["kind"] for row in rows}


def test_every_worked_solution_is_right_and_so_is_the_answer_alone() -> None:
    asked = suite("worked-math")
    rows = read_problems("worked-math")
    assert success(asked, *(row.example.completion for row in rows)) == 1.0
    assert success(asked, *(row.columns["answer"] for row in rows)) == 1.0
    assert all(row.example.completion.count(r"\boxed{") == 1 for row in rows)


def test_no_answer_is_accepted_for_another_problem() -> None:
    answers = [right_answer(row.columns["answer"]) or "" for row in read_problems("worked-math")]
    # Number against number is exact and free, formula against formula takes 20 ms; a number equals no formula here.
    numbers = [answer for answer in answers if number(answer) is not None]
    formulas = [answer for answer in answers if number(answer) is None]
    pairs = [*itertools.permutations(numbers, 2), *itertools.combinations(formulas, 2)]
    assert len(pairs) > 500
    assert [pair for pair in pairs if same(*pair)] == []


# --- styles


def test_published_styles_are_what_the_harness_writes() -> None:
    # The two templates as the public copies of the harness hold them, written out by hand once more.
    qwen = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nP\nPlease reason step by step, "
        "and put your final answer within \\boxed{}.<|im_end|>\n<|im_start|>assistant\n"
    )
    deepseek = "User: P\nPlease reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:"
    assert styled("P", "qwen-boxed") == (Message(role=RAW, content=qwen),)
    assert styled("P", "deepseek-math") == (Message(role=RAW, content=deepseek),)


def test_a_problem_that_holds_braces_is_asked_as_it_is() -> None:
    for name in STYLES:
        assert r"\frac{1}{2} {problem}" in styled(r"\frac{1}{2} {problem}", name)[0]["content"]


def test_a_style_of_ones_own_is_a_text() -> None:
    assert styled("2?", "Q: {problem}\nA:") == (Message(role=RAW, content="Q: 2?\nA:"),)
    with pytest.raises(UnknownName, match='Did you mean "qwen-boxed"'):
        find_style("qwen_boxed")


@pytest.mark.parametrize("templated", [True, False], ids=["template", "no template"])
def test_a_raw_prompt_reaches_the_model_as_it_is_written(templated: bool) -> None:
    tokenizer = word_tokenizer.build(["User : two and two Assistant four end"])
    tokenizer.chat_template = tokenizer.chat_template if templated else None
    raw = styled("two and two", "User: {problem} Assistant:")
    wanted = tokenizer(raw[0]["content"])["input_ids"]
    assert prompt_ids(tokenizer, [raw]) == [wanted]
    row = encode_all([Example(raw, "four")], tokenizer)[0]
    assert list(row.prompt_ids) == wanted
    assert row.input_ids[-1] == tokenizer.eos_token_id


def test_a_raw_prompt_stands_alone() -> None:
    tokenizer = word_tokenizer.build(["a b"])
    raw, chat = (Message(role=RAW, content="a"),), (Message(role="user", content="b"),)
    with pytest.raises(DataError, match="1 of 2 prompts are raw text"):
        prompt_ids(tokenizer, [raw, chat])
    with pytest.raises(DataError, match="2 messages follow it"):
        prompt_ids(tokenizer, [(*raw, *chat, *chat)])


def test_a_style_words_the_question_of_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, "minerva-math")
    asked = suite(path, prompt_style="deepseek-math")
    (problem,) = asked.problems()
    assert asked.environment.prompt(problem) == styled("Two meters and three?", "deepseek-math")
    assert problem.key == suite(path).problems()[0].key
    assert asked.fingerprint() != suite(path).fingerprint()
    (tmp_path / "talk.jsonl").write_text(
        json.dumps({"messages": [{"role": role, "content": "x"} for role in ("user", "assistant") * 2]}) + "\n"
    )
    talk = suite(str(tmp_path / "talk.jsonl"), prompt_style="boxed")
    with pytest.raises(DataError, match="words one question"):
        talk.environment.prompt(talk.problems()[0])


# --- in a recipe


def recipe(**keys: object) -> dict[str, object]:
    return {
        "model_name_or_path": "pocket", "learning_rate": 1e-3, "budget": {"steps": 1},
        "data": {"environment": "general_points", "rule": "faces_as_10"},
        "suites": {"m": {"purpose": "retention", "scorer": "math", **keys}},
    }  # fmt: skip


def faults(**keys: object) -> str:
    with pytest.raises(RecipeError) as refused:
        check(recipe(**keys), source="it")
    return str(refused.value)


def test_a_recipe_names_a_suite_a_style_and_its_decoding(tmp_path: Path) -> None:
    decoding = {"temperature": 1.0, "samples": 16, "max_new_tokens": 4096}
    for path in (*MATH_SUITES, "HuggingFaceH4/MATH-500", write(tmp_path, "math-500"), str(tmp_path)):
        checked = check(recipe(path=path, prompt_style="qwen-boxed", size=500, decoding=decoding), source="it")
        assert isinstance(checked, Recipe)
        assert checked.suites["m"].options == {"prompt_style": "qwen-boxed"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"path": "math500"}, ["suites.m.path: no such file: math500", 'Did you mean "math-500"']),
        ({"path": "math-500", "scorer": "exact"}, ["suites.m.scorer", "Write scorer: math."]),
        ({"path": "math-500", "prompt_style": "qwen_boxed"}, ["suites.m.prompt_style", 'Did you mean "qwen-boxed"']),
        ({"path": "math-500", "prompt_style": 3}, ["suites.m.prompt_style: 3 is no style"]),
        ({"path": "math-500", "promt_style": "boxed"}, ["suites.m.promt_style: no such key", '"prompt_style"']),
        ({"path": "math-500", "prompt_style": "qwen-boxed", "attempts": 2}, ["suites.m.attempts", "nothing can"]),
    ],
)  # fmt: skip
def test_a_faulty_suite_is_refused_before_anything_is_loaded(keys: dict, words: list[str]) -> None:
    told = faults(**keys)
    assert all(word in told for word in words), told
    assert "has 1 problem" in told


def test_training_takes_a_file_and_no_suites_name() -> None:
    values = recipe(path="math-500")
    values["data"] = {"path": "math-500"}
    with pytest.raises(RecipeError, match=r"data\.path: no such file: math-500"):
        check(values, source="it")


def test_outside_a_recipe_the_same_faults_are_raised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no key 'promt_style'\. Did you mean"):
        suite(write(tmp_path, "math-500"), promt_style="boxed")
    with pytest.raises(UserError, match="Write scorer: math"):
        suite("math-500", scorer="contains")


def test_the_recipe_of_the_docs_is_accepted_and_the_tables_are_complete() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.split("\n## Mathematics suites\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    checked = check({**recipe(), **yaml.safe_load(example)}, source="docs")
    assert checked.suites["math500"].decoding.samples == 16
    for name, entry in MATH_SUITES.items():
        place = "none: in the package" if entry.shipped else f"{entry.source}, {entry.split}"
        assert f"| `{name}` | {place} | {entry.problems} |" in section
    assert all(f"`{name}`" in section for name in STYLES)


# --- asked of a model


def test_a_model_is_asked_in_a_style_and_its_samples_are_scored(tmp_path: Path) -> None:
    loaded = load(str(tiny_base.write(tmp_path)), dtype="float32")
    decoding = {"temperature": 1.0, "samples": 2, "max_new_tokens": 3}
    asked = suite("worked-math", size=3, prompt_style="Q: {problem} A:", decoding=decoding)
    result = evaluate(loaded.model, loaded.tokenizer, asked, batch_size=6, compute_dtype=torch.float32)
    assert len(result.samples) == 6
    assert result.samples[0].prompt.startswith("Q: A shelf holds")
    assert {"eval_it_success", "eval_it_pass_at_2"} <= set(result.estimates)
    assert result.estimates["eval_it_pass_at_2"].n == 3
