"""RFT in whole runs on an embedded base: what is drawn, learned, paid for, and found again after a kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

import tiny_base
import tiny_models
from holdfast.cli.console import show_plan
from holdfast.data.batches import collate
from holdfast.data.encode import Encoded
from holdfast.data.sources import environment_of
from holdfast.errors import RecipeError, UserError
from holdfast.methods import draw
from holdfast.methods.drawn import Question, kept, sizes
from holdfast.methods.drawn_file import DrawnFile
from holdfast.methods.price import answering
from holdfast.models.counting import cost
from holdfast.models.load import load
from holdfast.objectives.dft import DFT
from holdfast.objectives.engine import Engine
from holdfast.plan import check, plan
from holdfast.records import Outcome
from holdfast.run import RunResult, run
from holdfast.train.progress import Silent

STYLE = {"prompt_style": "terse", "answer_format": "values_formula"}
VALUES: dict[str, Any] = {
    "model_name_or_path": "pocket",
    "attn_implementation": "eager",
    "trainable": {"preset": "attention", "layers": "last:1"},
    "method": {"name": "rft", "problems": 12, "samples": 4, "temperature": 2.0, "max_new_tokens": 40},
    "data": {"environment": "general_points", "rule": "faces_as_10", **STYLE},
    "evaluate_at": "end",
    "budget": {"steps": 4},
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 6,
    "logging_steps": 1,
    "save_steps": 2,
}


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Draw in parts of few problems, on one thread: more make nothing faster here, and threads survive no fork."""
    before, threads = draw.PART, torch.get_num_threads()
    draw.PART = 5
    torch.set_num_threads(1)
    yield
    draw.PART = before
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(check(VALUES, source="test"), folder=tmp_path_factory.mktemp("rft") / "run")


def drawn(folder: Path) -> tuple[dict[str, Any], list[Question]]:
    head, *lines = map(json.loads, (folder / "drawn.jsonl").read_text().splitlines())
    return head, [Question.from_json(line) for line in lines]


def result(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return told


@pytest.mark.slow
def test_what_is_learned_verifies_and_is_learned_once(whole: RunResult) -> None:
    head, questions = drawn(whole.folder)
    rows = kept(questions, by="success", most=None).rows
    assert len({row.input_ids for row in rows}) == len(rows) == head["distinct_right"] > 0
    environment = environment_of("general_points", rules=("faces_as_10",), options=STYLE)
    tokenizer = load("pocket").tokenizer
    for question in questions:
        problem = environment.sample("faces_as_10", "train", question.problem, seed=0)
        assert problem.index == question.problem
        for answer in question.answers:
            assert (environment.verify(problem, answer.text).outcome is Outcome.CORRECT) == answer.right
            assert tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip() == answer.text.strip()
    assert (head["answers"], head["problems"]) == (48, 12)
    assert 0 < head["right"] < 48


@pytest.mark.slow
def test_drawing_is_paid_for_once_before_the_first_step(whole: RunResult) -> None:
    _, questions = drawn(whole.folder)
    spent, first = result(whole.folder)["spent"], whole.records[0].spent
    tokens = sum(len(answer.token_ids) for question in questions for answer in question.answers)
    assert spent["generated_tokens"] == first["generated_tokens"] == tokens
    price = answering(cost(load("pocket").model, ()), sizes(questions))
    assert first["flops"] == price["flops"]
    assert (first["steps"], spent["steps"]) == (0, 4)
    assert spent["flops"] > first["flops"]


class Killed(Silent):
    """Kills its process at step 3."""

    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> bool:
    """Whether a child that does ``work`` was killed."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        disable_progress_bar()
        try:
            work()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_run_that_is_killed_while_it_draws_and_while_it_learns_ends_as_an_unbroken_one(
    whole: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = check(VALUES, source="test"), tmp_path / "run"
    add = DrawnFile.add

    def dying(self: DrawnFile, number: int, lines: Any) -> None:
        add(self, number, lines)
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(DrawnFile, "add", dying)
        assert killed(lambda: run(recipe, folder=folder))
    assert not (folder / "drawn.jsonl").exists()
    assert len((folder / "drawn.part.jsonl").read_text().splitlines()) == 3

    numbers: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            DrawnFile, "add", lambda self, number, lines: numbers.append(number) or add(self, number, lines)
        )
        assert killed(lambda: run(recipe, folder=folder, progress=Killed()))
    assert (folder / "checkpoint-2").is_dir()
    assert not (folder / "drawn.part.jsonl").exists()
    assert (folder / "drawn.jsonl").read_bytes() == (whole.folder / "drawn.jsonl").read_bytes()

    (folder / "drawn.jsonl").unlink()  # a lost file is drawn again, and is the same
    assert run(recipe, folder=folder).status == "finished"
    for name in ("drawn.jsonl", "records.jsonl"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert result(folder)["spent"] == result(whole.folder)["spent"]


@pytest.mark.slow
def test_dpo_compares_the_very_answers_that_rft_learns(whole: RunResult, tmp_path: Path) -> None:
    """The same options draw the same answers, whatever is made of them: only what is learned differs."""
    values = {**VALUES, "method": {**VALUES["method"], "name": "dpo"}, "save_steps": 0}
    ended = run(check(values, source="test"), folder=tmp_path / "run")
    assert drawn(ended.folder)[1] == drawn(whole.folder)[1]
    lines = [json.loads(line) for line in (ended.folder / "metrics.jsonl").read_text().splitlines()]
    assert (lines[0]["rewards_margin"], lines[0]["accuracy"]) == (0.0, 0.0)
    assert lines[-1]["rewards_margin"] > 0
    first = ended.records[0].spent
    assert first["generated_tokens"] == whole.records[0].spent["generated_tokens"]
    assert first["flops"] > whole.records[0].spent["flops"]  # the base was asked about the pairs too


@pytest.mark.slow
def test_a_model_that_is_never_right_is_refused_in_words(tmp_path: Path) -> None:
    values = {
        **VALUES,
        "model_name_or_path": str(tiny_base.write(tmp_path / "base")),
        "method": {"name": "rft", "problems": 4, "samples": 3, "max_new_tokens": 8},
    }
    with pytest.raises(UserError, match=r"0 right \(0\.0 %.*no answer worth learning.*method\.samples is 3") as told:
        run(check(values, source="test"), folder=tmp_path / "run")
    assert "12 were cut off at max_new_tokens 8" in str(told.value)
    assert drawn(tmp_path / "run")[0]["right"] == 0


def test_a_row_that_weighs_nothing_teaches_nothing() -> None:
    model = tiny_models.build("llama")
    rows = [Encoded((5, 6, 7, 8), 2), Encoded((9, 3, 4), 1)]

    def gradient(rows: list[Encoded], weights: list[float]) -> torch.Tensor:
        engine = Engine(model, DFT())
        batch = {**collate(rows, pad_token_id=0).tensors(), "row_weight": torch.tensor(weights)}
        totals = engine.totals([batch])
        model.zero_grad()
        engine.loss(batch, totals).loss.backward()
        return model.model.layers[0].mlp.up_proj.weight.grad.clone() * totals.tokens

    alone = gradient(rows[:1], [1.0])
    torch.testing.assert_close(gradient(rows, [1.0, 0.0]), alone, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient(rows, [3.0, 0.0]), 3 * alone, rtol=1e-5, atol=1e-7)


def test_matched_flops_count_the_drawing(tmp_path: Path) -> None:
    base = str(tiny_base.write(tmp_path / "base"))
    values = {**VALUES, "model_name_or_path": base, "trainable": "full", "budget": {"steps": 40}}
    full = plan(check(values, source="test"))
    values |= {"trainable": "attention", "budget": {"steps": 40, "match": "flops"}}
    matched = plan(check(values, source="test"))
    assert full.beforehand.problems == matched.beforehand.problems == 12
    assert full.beforehand.spent.flops == matched.beforehand.spent.flops > 0
    assert matched.steps > 40
    assert matched.total.flops == pytest.approx(full.total.flops, abs=matched.step.flops / 2)
    assert full.to_json()["total"]["generated_tokens"] > 0


def test_a_plan_tells_what_is_drawn_and_warns_of_heat(tmp_path: Path) -> None:
    base = str(tiny_base.write(tmp_path / "base"))
    hot, cool = (
        plan(
            check({**VALUES, "model_name_or_path": base, "method": {**VALUES["method"], "temperature": t}}, source="t")
        )
        for t in (2.0, 1.0)
    )
    assert any("draw at temperature 1" in words for words in hot.warnings)
    assert not any("draw at temperature 1" in words for words in cool.warnings)
    out = Console(record=True, width=200)
    show_plan(out, cool)
    assert "4 answers to each of 12 problems are drawn by the untrained model" in out.export_text()


def test_what_makes_no_sense_with_rft_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    method, data = VALUES["method"], VALUES["data"]
    for change, words in (
        ({"data": {"path": str(tmp_path / "rows.jsonl")}}, "rft draws answers and lets an environment judge them"),
        ({"budget": {"epochs": 1}}, "known only when answers are drawn"),
        ({"data": {**data, "size": 10}}, "12 problems are to be asked, and the data has 10"),
        ({"method": {**method, "keep": 0}}, "keep must be at least 1"),
        ({"method": {**method, "samples": 0}}, "samples must be at least 1"),
        ({"method": {**method, "temperature": 0}}, "greedy answers are all alike"),
        ({"method": {**method, "beta": 0.1}}, "beta"),
    ):
        with pytest.raises(RecipeError, match=words):
            check({**VALUES, **change}, source="test")
