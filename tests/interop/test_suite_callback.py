"""Suites asked inside a stock Transformers trainer: when, where the scores go, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer, TrainingArguments

import tiny_base
from holdfast.environments.general_points import GeneralPoints
from holdfast.errors import UserError
from holdfast.interop import SuiteCallback, suite
from holdfast.models.load import load

WORLD = GeneralPoints(prompt_style="terse", answer_format="values_formula")
SUITES = [
    suite(name, WORLD, rule, size=3, max_new_tokens=4) for name, rule in zip(("id", "ood"), WORLD.rules, strict=True)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_base.write(tmp_path_factory.mktemp("base"))


def trainer(base, folder, callback, **options):
    loaded = load(str(base), dtype="float32")
    ids = loaded.tokenizer("make 24 from these cards", return_tensors="pt").input_ids[0]
    rows = [{"input_ids": ids, "labels": ids} for _ in range(8)]
    defaults = {"max_steps": 4, "per_device_train_batch_size": 2, "logging_steps": 1, "save_strategy": "no"}
    arguments = TrainingArguments(
        str(folder), **{**defaults, **options}, use_cpu=True, report_to="none", disable_tqdm=True
    )
    return Trainer(
        loaded.model, arguments, train_dataset=rows, eval_dataset=rows[:2], processing_class=loaded.tokenizer,
        callbacks=[callback] if callback else [],
    )  # fmt: skip


def scored_steps(history):
    return [line["step"] for line in history if "eval_ood_success" in line]


def test_suites_are_scored_at_the_first_step_every_so_many_and_at_the_last(base, tmp_path):
    callback = SuiteCallback(SUITES, every=3)
    running = trainer(base, tmp_path, callback)
    running.train()
    assert scored_steps(running.state.log_history) == [0, 3, 4]
    assert list(callback.results) == [0, 3, 4]
    assert [result.name for result in callback.results[4]] == ["id", "ood"]
    assert len(callback.results[4][0].samples) == 3
    line = next(line for line in running.state.log_history if "eval_id_success" in line)
    assert line["eval_id_success_low"] <= line["eval_id_success"] <= line["eval_id_success_high"]


def test_asking_suites_does_not_change_the_training(base, tmp_path):
    def losses(callback):
        running = trainer(base, tmp_path, callback)
        running.model.config.attention_dropout = 0.0
        torch.manual_seed(0)
        running.train()
        assert running.model.training
        return [line["loss"] for line in running.state.log_history if "loss" in line]

    assert losses(SuiteCallback(SUITES, every=1)) == losses(None)


def test_scores_choose_the_best_checkpoint_where_the_trainer_evaluates(base, tmp_path):
    callback = SuiteCallback(SUITES)
    running = trainer(
        base, tmp_path, callback, eval_strategy="steps", eval_steps=2, save_strategy="best",
        metric_for_best_model="eval_ood_format_ok", greater_is_better=True,
    )  # fmt: skip
    running.train()
    assert list(callback.results) == [0, 2, 4]
    assert running.state.best_metric is not None


def test_scores_reach_the_trackers_once_the_callback_knows_its_trainer(base, tmp_path):
    callback = SuiteCallback(SUITES, every=4)
    running = trainer(base, tmp_path, callback)
    callback.trainer = running
    logged = []
    running.log = lambda logs, *_: logged.append(dict(logs))
    running.train()
    assert sum("eval_ood_success" in line for line in logged) == 2


@pytest.mark.parametrize(
    ("suites", "options", "message"),
    [([], {}, "at least one suite"), ([SUITES[0], SUITES[0]], {}, "name of its own"), (SUITES, {"every": 0}, "got 0")],
)
def test_impossible_callbacks_are_refused(suites, options, message):
    with pytest.raises(UserError, match=message):
        SuiteCallback(suites, **options)


def test_a_trainer_without_a_tokenizer_is_refused_before_training(base, tmp_path):
    running = trainer(base, tmp_path, SuiteCallback(SUITES))
    running.callback_handler.processing_class = None
    with pytest.raises(UserError, match="pass the tokenizer"):
        running.train()
