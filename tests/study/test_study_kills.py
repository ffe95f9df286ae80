"""A study that is interrupted, and whose run is killed, ends with the records of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import tiny_base
from holdfast.run import run
from holdfast.study import Arm, Machine, Outcome, Runner, Study, load, train_command

RULE = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}
STEPS = 8
SLOW = """
import time
from holdfast.cli import main
from holdfast.train.sft import SFT

next_step = SFT.next_step
SFT.next_step = lambda self: (time.sleep(0.4), next_step(self))[1]
main()
"""
"""A run that takes its time over a step, so that a signal meets it while it trains."""


class Disturbing:
    """Does something to the study when a run has printed a certain step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act
        self.heard_of: list[str] = []
        self.words = ""

    def started(self, arm: Arm, *, going_on: bool) -> None:
        self.heard_of.append(f"going on: {going_on}")

    def heard(self, arm: Arm, line: str) -> None:
        if line.startswith(f"step {self.step}/"):
            self.act()

    def ended(self, outcome: Outcome) -> None:
        self.heard_of.append(outcome.status)
        self.words = outcome.words


def carry_out(study: Study, place: Path, watch: Disturbing) -> None:
    script = place / "slow.py"
    script.write_text(SLOW)
    command = train_command(place / "runs", allow_code=False)
    runner = Runner(
        study=study,
        folder=place / "study",
        runs=place / "runs",
        watch=watch,
        jobs=1,
        machine=Machine(cores=1, memory=10**11),
        command=lambda recipe, folder: [sys.executable, str(script), *command(recipe, folder)[3:]],
    )
    runner.run()


def left_in(folder: Path) -> dict[str, str]:
    """Everything that a run wrote down, without wall-clock figures."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        del line["tokens_per_second"]
    files = [folder / "records.jsonl", *sorted((folder / "samples").rglob("*.jsonl"))]
    return {"metrics": str(metrics), **{path.relative_to(folder).as_posix(): path.read_text() for path in files}}


@pytest.mark.slow
def test_an_interrupt_and_a_kill_change_nothing_in_what_a_study_ends_with(tmp_path: Path) -> None:
    base = {
        "model_name_or_path": str(tiny_base.write(tmp_path / "base")),
        "trainable": "attention",
        "data": {**RULE, "size": 64},
        "suites": {"id": {**RULE, "purpose": "id", "size": 4, "decoding": {"max_new_tokens": 4}}},
        "evaluate_at": [0, 2, 5, STEPS],
        "budget": {"steps": STEPS},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_steps": 1,
        "save_total_limit": 2,
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"base": base}))
    study = load(file)
    folder = study.arms[0].folder(tmp_path / "runs")
    unbroken = run(study.arms[0].recipe, folder=tmp_path / "unbroken", base_cache=tmp_path / "runs" / ".base")

    watch = Disturbing(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    carry_out(study, tmp_path, watch)
    assert watch.heard_of == ["going on: False", "interrupted"], watch.words

    def kill() -> None:
        (lock,) = (line for line in (folder / ".lock").read_text().splitlines() if line.startswith("pid"))
        os.kill(int(lock.split()[1]), signal.SIGKILL)

    watch = Disturbing(5, kill)
    carry_out(study, tmp_path, watch)
    assert watch.heard_of == ["going on: True", "failed"]
    assert "killed by SIGKILL" in watch.words

    watch = Disturbing(-1, lambda: None)
    carry_out(study, tmp_path, watch)
    assert watch.heard_of == ["going on: True", "finished"], watch.words
    assert left_in(folder) == left_in(unbroken.folder)
    for name in ("model.safetensors", "training/optimizer.safetensors"):
        mine, theirs = (load_file(place / f"checkpoint-{STEPS}" / name) for place in (folder, unbroken.folder))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
