"""Whole runs on an embedded base: what a user gets, what a crash leaves, what a resume continues."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from holdfast.errors import RunFolderError
from holdfast.plan import check
from holdfast.recipe import Recipe, read
from holdfast.records import Record
from holdfast.run import RunResult, run

ROOT = Path(__file__).parent.parent
POINTS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}


def recipe(**changes: Any) -> Recipe:
    values = {
        "model_name_or_path": "pocket",
        "attn_implementation": "eager",
        "trainable": {"preset": "attention", "layers": "first:1"},
        "data": POINTS,
        "suites": {
            "id": {"environment": "general_points", "rule": "faces_as_10", "purpose": "id", "size": 6},
            "ood": {
                "environment": "general_points",
                "rule": "faces_as_5_7_9",
                "purpose": "ood",
                "size": 6,
                "size_during": 3,
            },
        },
        "evaluate_at": [0, 2, 4],
        "budget": {"steps": 4},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        **changes,
    }
    return check(values, source="test")


@dataclass
class Interrupting:
    """Sends this process an interrupt when a step is logged, and remembers what it heard."""

    at: int = -1
    records: list[Record] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def said(self, line: str) -> None:
        self.lines.append(line)

    def started(self, steps: int, *, at: int) -> None:
        self.lines.append(f"start {at}")

    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def measured(self, record: Record) -> None:
        self.records.append(record)


def weights(result: RunResult) -> dict[str, torch.Tensor]:
    return load_file(result.folder / f"checkpoint-{result.steps}" / "model.safetensors")


def logs(folder: Path) -> dict[str, Any]:
    """Everything the run wrote down, without wall-clock figures."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        line.pop("tokens_per_second")
    samples = {str(p.relative_to(folder)): p.read_text() for p in sorted((folder / "samples").rglob("*.jsonl"))}
    return {"records": (folder / "records.jsonl").read_text(), "metrics": metrics, "samples": samples}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(recipe(), folder=tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
def test_a_run_leaves_everything_it_promises(whole: RunResult) -> None:
    assert (whole.status, whole.steps) == ("finished", 4)
    assert [record.step for record in whole.records] == [0, 2, 4]
    names = {path.name for path in whole.folder.iterdir()}
    assert {"recipe.yaml", "plan.json", "metrics.jsonl", "records.jsonl", "samples", "checkpoint-4"} <= names
    assert {"result.json", "report.html", "README.md"} <= names
    assert [whole.records[k].estimates["eval_ood_success"].n for k in range(3)] == [6, 3, 6]


@pytest.mark.slow
def test_what_was_not_selected_is_the_base_bit_for_bit(whole: RunResult) -> None:
    from holdfast.models.find import shipped

    base, tuned = load_file(shipped()["pocket"] / "model.safetensors"), weights(whole)
    moved = {name for name in base if not torch.equal(base[name], tuned[name])}
    assert moved
    assert all(name.startswith("model.layers.0.self_attn.") for name in moved)
    assert json.loads((whole.folder / "result.json").read_text())["frozen_verified"]


@pytest.mark.slow
def test_planned_flops_are_those_that_were_spent(whole: RunResult) -> None:
    planned = json.loads((whole.folder / "plan.json").read_text())
    spent = json.loads((whole.folder / "result.json").read_text())["spent"]
    assert spent["flops"] == pytest.approx(planned["total"]["flops"], rel=0.02)
    assert spent["steps"] == planned["steps"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_run_goes_on_bit_for_bit(whole: RunResult, tmp_path: Path, at: int) -> None:
    broken = run(recipe(), folder=tmp_path / "run", progress=Interrupting(at))
    assert (broken.status, broken.steps) == ("interrupted", at)
    heard = Interrupting()
    resumed = run(recipe(), folder=tmp_path / "run", progress=heard)
    assert f"start {at}" in heard.lines
    assert (resumed.status, resumed.steps) == ("finished", 4)
    mine, theirs = weights(resumed), weights(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert logs(resumed.folder) == logs(whole.folder)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again_and_another_recipe_is_refused(whole: RunResult) -> None:
    heard = Interrupting()
    assert run(recipe(), folder=whole.folder, progress=heard).status == "finished"
    assert heard.records == []
    with pytest.raises(RunFolderError, match="another recipe"):
        run(recipe(seed=1), folder=whole.folder)


@pytest.mark.slow
def test_runs_share_the_scores_of_their_base(whole: RunResult, tmp_path: Path) -> None:
    for trainable in ("attention", "mlp"):
        shared = run(
            recipe(trainable=trainable, budget={"steps": 1}), folder=tmp_path / trainable, base_cache=tmp_path / "base"
        )
        assert shared.records[0].estimates == whole.records[0].estimates
    assert len(list((tmp_path / "base").iterdir())) == 2


@pytest.mark.slow
def test_a_signal_stops_a_run_whose_last_moment_is_asked_in_full(tmp_path: Path) -> None:
    stop = {"signal": "patience", "reads": "eval_ood_success", "patience": 1, "min_delta": 2.0}
    ood = {"environment": "general_points", "rule": "faces_as_5_7_9", "purpose": "ood", "size": 14, "size_during": 8}
    stopped = run(recipe(stop=stop, suites={"ood": ood}, budget={"steps": 9}), folder=tmp_path / "run")
    assert stopped.status == "stopped"
    assert stopped.steps < 9
    last = stopped.records[-1]
    assert last.decision is not None
    # Two halves: what the table shows and what the signal read make up the whole suite.
    assert last.estimates["eval_ood_success"].n + last.estimates["eval_ood_success_select"].n == 14


@pytest.mark.slow
def test_the_best_checkpoint_outlives_younger_ones_however_few_are_kept(tmp_path: Path) -> None:
    stop = {"signal": "patience", "reads": "eval_ood_success", "patience": 9, "min_delta": 2.0}  # nothing is better
    asked = recipe(stop=stop, save_steps=1, save_total_limit=1, evaluate_at=[1, 2, 4])
    result = run(asked, folder=tmp_path / "run")
    assert [record.decision.best_step for record in result.records if record.decision is not None] == [0] * 4
    assert sorted(path.name for path in result.folder.glob("checkpoint-*")) == ["checkpoint-0", "checkpoint-4"]


@pytest.fixture(scope="module")
def tiny_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 with the words of the embedded bases."""
    from holdfast.models.find import shipped

    folder = tmp_path_factory.mktemp("qwen2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(shipped()["pocket"])
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("which", ["pocket", "qwen2"])
def test_ten_rows_of_your_own_are_learned_from_one_recipe(
    which: str, tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    values = read(ROOT / "recipes" / "my_data.yaml")
    values["model_name_or_path"] = {"pocket": "pocket", "qwen2": str(tiny_qwen2)}[which]
    result = run(check(values, source="my_data.yaml"), folder=tmp_path / "run")
    first, last = result.records[0], result.records[-1]
    assert first.readings["eval_colors_success"] == 0.0
    assert last.estimates["eval_colors_success"].n == 10
    losses = [json.loads(line)["nll"] for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    if which == "pocket":
        assert last.readings["eval_colors_success"] == 1.0
