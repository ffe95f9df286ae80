"""Whole runs whose answers come from vLLM; skipped where it is not installed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tiny_base
from holdfast.errors import UserError
from holdfast.plan import check, plan
from holdfast.rollout import vllm_answerer, vllm_extra
from holdfast.run import RunResult, run
from holdfast.train.progress import Silent

HERE = vllm_extra.missing() is None
with_vllm = pytest.mark.skipif(not HERE, reason=f"vLLM is not installed: {vllm_extra.missing()}")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]

CARDS = {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "answer_format": "formula"}
GRPO = {"name": "grpo", "num_generations": 4, "max_new_tokens": 5, "reward": "verdict"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 32: vLLM has no kernel for smaller ones.
    return tiny_base.write(tmp_path_factory.mktemp("vllm") / "base", hidden_size=64)


def values(base: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(base),
        "dtype": "float32",
        "compute_dtype": "float32",
        "data": {**CARDS, "size": 64},
        "suites": {"id": {**CARDS, "purpose": "id", "size": 20, "decoding": {"max_new_tokens": 8}}},
        "evaluate_at": [2],
        "budget": {"steps": 4},
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        **changes,
    }


def carried_out(base: Path, folder: Path, *, progress: Any = None, **changes: Any) -> RunResult:
    return run(check(values(base, **changes), source="test"), folder=folder, progress=progress)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    timed = {"seconds", "train_seconds", "tokens_per_second", "peak_memory_bytes"}
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def told(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


@with_vllm
def test_who_answers_the_suites_leaves_no_trace_in_training(base: Path, tmp_path: Path) -> None:
    for who in ("transformers", "vllm"):
        carried_out(base, tmp_path / who, generate_with=who)
    usual, other = tmp_path / "transformers", tmp_path / "vllm"
    assert lines(usual, "metrics") == lines(other, "metrics")
    assert lines(usual, "records") == lines(other, "records")  # greedy, float32: the answers agree too
    assert told(usual)["generate_with"] == "transformers"
    assert "generate_with" not in told(usual)["identity"]
    assert told(other)["generate_with"] == told(other)["identity"]["generate_with"] == f"vllm {vllm_extra.version()}"


class Interrupting(Silent):
    def logged(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)


@with_vllm
@pytest.mark.parametrize("changes", [{}, {"lora": {"r": 4}}], ids=["weights", "adapters"])
def test_a_run_that_plays_with_vllm_goes_on_where_it_was_broken_off(
    changes: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    asked = {"method": GRPO, "generate_with": "vllm", **changes}
    carried_out(base, tmp_path / "whole", **asked)
    broken = carried_out(base, tmp_path / "broken", progress=Interrupting(), **asked)
    assert (broken.status, broken.steps) == ("interrupted", 2)
    assert carried_out(base, tmp_path / "broken", **asked).status == "finished"
    assert lines(tmp_path / "broken", "metrics") == lines(tmp_path / "whole", "metrics")
    assert lines(tmp_path / "broken", "records") == lines(tmp_path / "whole", "records")
    assert sum(line.get("reply_tokens", 0) for line in lines(tmp_path / "whole", "metrics")) > 0


def test_auto_goes_on_with_transformers_where_vllm_cannot_serve_the_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise UserError("generate_with: vllm cannot serve it: out of memory")

    monkeypatch.setattr(vllm_answerer, "Vllm", Refusing)
    monkeypatch.setattr(vllm_extra, "missing", lambda: None)
    heard: list[str] = []

    class Listening(Silent):
        def said(self, line: str) -> None:
            heard.append(line)

    recipe = check(values(base, budget={"steps": 1}, generate_with="auto"), source="test")
    planned = plan(recipe)
    object.__setattr__(planned, "generates_with", "vllm")
    run(recipe, folder=tmp_path / "run", planned=planned, progress=Listening())
    assert any("Transformers answers instead of vLLM" in line and "out of memory" in line for line in heard)
    assert told(tmp_path / "run")["generate_with"] == "transformers"
    insisting = check(values(base, budget={"steps": 1}, generate_with="vllm"), source="test")
    with pytest.raises(UserError, match="out of memory"):
        run(insisting, folder=tmp_path / "other")
