"""Whole runs that replay: what is learned, what the base said, what it costs, and that a broken-off run is the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_base
from holdfast.cli.console import show_plan
from holdfast.data.replayed import Replayed
from holdfast.data.sources import TokenRows, environment_of
from holdfast.errors import UserError
from holdfast.methods import draw
from holdfast.methods.drawn import Question, sizes
from holdfast.methods.price import answering
from holdfast.models.compute import compute
from holdfast.models.counting import cost
from holdfast.models.load import load
from holdfast.plan import check, plan
from holdfast.run import RunResult, run
from holdfast.train.progress import Silent
from holdfast.train.sft import SFT

STYLE = {"prompt_style": "terse", "answer_format": "values_formula"}
CARDS = {"environment": "general_points", "rule": "faces_as_10", "size": 64, **STYLE}
REPLAY = {"share": 0.25, "environment": "general_points", "rule": "faces_as_5_7_9", "size": 12}
ASKED = {**REPLAY, "answers": "base", "max_new_tokens": 40}
VALUES: dict[str, Any] = {
    "model_name_or_path": "pocket",
    "attn_implementation": "eager",
    "trainable": {"preset": "attention", "layers": "last:1"},
    "data": {**CARDS, "replay": ASKED},
    "evaluate_at": "end",
    "budget": {"steps": 4},
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 6,
    "logging_steps": 1,
    "save_steps": 2,
}


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Draw in parts of few problems, on one thread: threads survive no fork."""
    before, threads = draw.PART, torch.get_num_threads()
    draw.PART = 5
    torch.set_num_threads(1)
    yield
    draw.PART = before
    torch.set_num_threads(threads)


class Learned:
    """Takes down the rows that a run learns from, step by step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[list[tuple[tuple[int, ...], int]]] = []
        self.sources: list[Any] = []
        told = SFT.next_step

        def telling(method: SFT) -> Any:
            here = method.batches.cursor
            made = method.batches.next_step()
            method.batches.seek(here)
            self.steps.append([(row.input_ids, row.n_prompt) for batch in made for row in batch.rows])
            self.sources.append(method.batches.source)
            return told(method)

        monkeypatch.setattr(SFT, "next_step", telling)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Learned]:
    with pytest.MonkeyPatch.context() as patched:
        learned = Learned(patched)
        return run(check(VALUES, source="test"), folder=tmp_path_factory.mktemp("replay") / "run"), learned


def answers(folder: Path) -> tuple[dict[str, Any], list[Question]]:
    head, *lines = map(json.loads, (folder / "replay.jsonl").read_text().splitlines())
    return head, [Question.from_json(line) for line in lines]


@pytest.mark.slow
def test_what_is_replayed_is_what_the_base_says_greedily(whole: tuple[RunResult, Learned]) -> None:
    """Against Transformers' own `generate`, one prompt at a time."""
    _, questions = answers(whole[0].folder)
    loaded = load("pocket", attn_implementation="eager")
    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    environment = environment_of("general_points", rules=("faces_as_10", "faces_as_5_7_9"), options=STYLE)
    assert len(questions) == 12
    for question in questions:
        problem = environment.sample("faces_as_5_7_9", "train", question.problem, seed=0)
        prompt = tokenizer.apply_chat_template(list(environment.prompt(problem)), add_generation_prompt=True)
        ids = tuple(prompt["input_ids"] if isinstance(prompt, Mapping) else prompt)
        assert question.prompt_ids == ids
        with compute(model, torch.bfloat16), torch.no_grad():
            said = model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=40, do_sample=False,
            )  # fmt: skip
        assert tuple(said[0, len(ids) :].tolist()) == question.answers[0].token_ids


@pytest.mark.slow
def test_every_fourth_row_learned_is_an_answer_of_the_base(whole: tuple[RunResult, Learned]) -> None:
    result, learned = whole
    said = {question.row(question.answers[0]).input_ids for question in answers(result.folder)[1]}
    rows = [row for step in learned.steps for row, _ in step]
    assert [row in said for row in rows] == [place % 4 == 3 for place in range(24)]


@pytest.mark.slow
def test_asking_for_replay_is_paid_for_once_before_the_first_step(whole: tuple[RunResult, Learned]) -> None:
    folder, first = whole[0].folder, whole[0].records[0].spent
    price = answering(cost(load("pocket").model, ()), sizes(answers(folder)[1]))
    assert (first["flops"], first["generated_tokens"]) == (price["flops"], price["generated_tokens"])
    planned = json.loads((folder / "plan.json").read_text())
    assert planned["beforehand"]["replayed"] == 12
    assert planned["total"]["generated_tokens"] == pytest.approx(price["generated_tokens"], rel=0.2)


class Killed(Silent):
    """Kills its process at step 3."""

    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_run_that_is_killed_ends_as_an_unbroken_one(whole: tuple[RunResult, Learned], tmp_path: Path) -> None:
    recipe, folder, before = check(VALUES, source="test"), tmp_path / "run", whole[0].folder
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        try:
            run(recipe, folder=folder, progress=Killed())
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert (folder / "checkpoint-2").is_dir()
    written = (folder / "replay.jsonl").stat().st_mtime_ns
    assert run(recipe, folder=folder).status == "finished"
    assert (folder / "replay.jsonl").stat().st_mtime_ns == written  # read again, not asked again
    for name in ("replay.jsonl", "records.jsonl"):
        assert (folder / name).read_bytes() == (before / name).read_bytes()
    weights = [place / "checkpoint-4" / "model.safetensors" for place in (folder, before)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_accumulation_changes_no_row(whole: tuple[RunResult, Learned], tmp_path: Path) -> None:
    values = {**VALUES, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "save_steps": 0}
    with pytest.MonkeyPatch.context() as patched:
        learned = Learned(patched)
        run(check(values, source="test"), folder=tmp_path / "run")
    assert learned.steps == whole[1].steps


def test_demonstrations_are_replayed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = Learned(monkeypatch)
    base = str(tiny_base.write(tmp_path / "base"))
    values = {**VALUES, "model_name_or_path": base, "data": {**CARDS, "replay": REPLAY}, "trainable": "attention"}
    planned = plan(check(values, source="test"))
    result = run(planned.recipe, folder=tmp_path / "run", planned=planned)
    source = planned.source
    assert isinstance(source, Replayed)
    demonstrations = {row.input_ids for row in source.other.take(range(12))}
    rows = [row for step in learned.steps for row, _ in step]
    assert [row in demonstrations for row in rows] == [place % 4 == 3 for place in range(24)]
    assert not (result.folder / "replay.jsonl").exists()
    assert result.records[0].spent["flops"] == 0
    assert result.records[-1].spent["flops"] == planned.total.flops
    out = Console(record=True, width=200)
    show_plan(out, planned)
    told = "25 % of rows replay general_points, rule faces_as_5_7_9"
    assert f"{told}, in the place of rows of the data" in out.export_text()
    assert told.replace("_", r"\_") in (result.folder / "README.md").read_text()


@pytest.mark.slow
def test_prompts_of_a_file_are_answered_by_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = Learned(monkeypatch)
    environment = environment_of("general_points", rules=("faces_as_10",), options=STYLE)
    file = tmp_path / "chat.jsonl"
    prompts = [environment.prompt(environment.sample("faces_as_10", "train", n, seed=5)) for n in range(6)]
    rows = [{"prompt": prompt[0]["content"], "completion": "no"} for prompt in prompts[:4]]
    rows += [
        {"prompt": prompts[4][0]["content"]},
        {"messages": [{"role": "user", "content": prompts[5][0]["content"]}]},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    replay = {"share": 0.5, "path": str(file), "answers": "base", "max_new_tokens": 40, "size": 5}
    recipe = check({**VALUES, "data": {**CARDS, "replay": replay}, "save_steps": 0}, source="test")
    result = run(recipe, folder=tmp_path / "run")
    _, questions = answers(result.folder)
    assert len({question.problem for question in questions}) == 5
    said = {question.row(question.answers[0]).input_ids for question in questions}
    rows_learned = [row for step in learned.steps for row, _ in step]
    assert [row in said for row in rows_learned] == [place % 2 == 1 for place in range(24)]
    tokenizer = load("pocket").tokenizer
    asked = {tokenizer.decode(question.prompt_ids) for question in questions}
    assert sum(any(prompt[0]["content"] in words for words in asked) for prompt in prompts) == 5


@pytest.mark.slow
def test_answers_that_verify_and_replayed_ones_are_learned_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = Learned(monkeypatch)
    method = {"name": "rft", "problems": 8, "samples": 4, "max_new_tokens": 40, "reward": "verdict"}
    result = run(check({**VALUES, "method": method, "save_steps": 0}, source="test"), folder=tmp_path / "run")
    source = learned.sources[0]
    assert isinstance(source, Replayed)
    assert isinstance(source.main, TokenRows)
    said = {question.row(question.answers[0]).input_ids for question in answers(result.folder)[1]}
    rows = [row for step in learned.steps for row, _ in step]
    assert [row in said for row in rows] == [place % 4 == 3 for place in range(24)]
    assert (result.folder / "drawn.jsonl").is_file()
    drawn = json.loads((result.folder / "drawn.jsonl").read_text().splitlines()[0])
    tokens = sum(size.reply for size in sizes(answers(result.folder)[1]))
    assert result.records[0].spent["generated_tokens"] > tokens > 0
    assert drawn["answers"] == 32


def test_a_base_that_ends_no_answer_is_refused_in_words(tmp_path: Path) -> None:
    base = str(tiny_base.write(tmp_path / "base"))
    replay = {**ASKED, "max_new_tokens": 3, "size": 4}
    values = {**VALUES, "model_name_or_path": base, "trainable": "attention", "data": {**CARDS, "replay": replay}}
    with pytest.raises(UserError, match=r"4 answers were cut off at 3 tokens.*Raise data\.replay\.max_new_tokens"):
        run(check(values, source="test"), folder=tmp_path / "run")


def test_matched_flops_count_what_the_base_is_asked(tmp_path: Path) -> None:
    base = str(tiny_base.write(tmp_path / "base"))
    values = {**VALUES, "model_name_or_path": base, "trainable": "full", "budget": {"steps": 40}}
    full = plan(check(values, source="test"))
    values |= {"trainable": "attention", "budget": {"steps": 40, "match": "flops"}}
    matched = plan(check(values, source="test"))
    assert full.beforehand.replayed == matched.beforehand.replayed == 12
    assert full.beforehand.spent.flops == matched.beforehand.spent.flops > 0
    assert matched.steps > 40
    assert matched.total.flops == pytest.approx(full.total.flops, abs=matched.step.flops / 2)


def test_epochs_buy_the_same_steps_with_replay_and_without(tmp_path: Path) -> None:
    base = str(tiny_base.write(tmp_path / "base"))
    values = {**VALUES, "model_name_or_path": base, "budget": {"epochs": 2}, "trainable": "attention"}
    with_replay = plan(check({**values, "data": {**CARDS, "replay": REPLAY}}, source="test"))
    without = plan(check({**values, "data": CARDS}, source="test"))
    assert (with_replay.steps, with_replay.rows) == (without.steps, without.rows + 12)
    assert without.steps == 22
