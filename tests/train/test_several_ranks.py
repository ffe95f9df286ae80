"""Two ranks, with DDP and with FSDP 2, train what one process trains; they resume bit for bit, and fail together."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_base
import tiny_models
from holdfast.models.load import load
from holdfast.models.ranks import ALONE, Ranks
from holdfast.models.tensors import TensorFolder

WORKER = Path(__file__).parent / "several_ranks_worker.py"
SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
TIMEOUT = 300
"""Seconds for one launch: a tenth will do on two idle cores."""


def launch(folder: Path, *acts: str, **environment: str) -> subprocess.CompletedProcess[str]:
    starts = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([str(WORKER.parents[1]), *sys.path])
    inherited = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", *SHARDED)}
    return subprocess.run(
        [*starts, str(WORKER), str(folder), *acts],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment},
    )


def a_place(folder: Path) -> Path:
    """A folder with two bases, one of which has dropout."""
    for name, dropout in (("base", 0.0), ("dropping", 0.2)):
        config = tiny_base.write(folder / name) / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "attention_dropout": dropout}))
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process does with as many rows a step."""
    place = a_place(tmp_path_factory.mktemp("alone"))
    runpy.run_path(str(WORKER))["equal"](place)
    return place / "equal"


@pytest.fixture(scope="module")
def ddp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = a_place(tmp_path_factory.mktemp("ddp"))
    broken = launch(place, "equal", "unbroken", "killed")
    assert broken.returncode == 1
    assert "exitcode: -9" in broken.stderr, broken.stderr[-3000:]  # a rank was killed, and the job went with it
    assert not (place / "broken" / "result.json").exists()
    done = launch(place, "resumed", "deaf_rank")
    assert done.returncode == 0, done.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def fsdp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = a_place(tmp_path_factory.mktemp("fsdp"))
    done = launch(place, "equal", "unbroken", "broken_off", "full_disk", "families", "answering", **SHARDED)
    assert done.returncode == 0, done.stderr[-3000:]
    return place


@pytest.fixture(params=["ddp", "fsdp"])
def place(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def tensors(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint-5" / name)


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def samples(run: Path) -> dict[str, str]:
    return {path.relative_to(run).as_posix(): path.read_text() for path in (run / "samples").rglob("*.jsonl")}


@pytest.mark.slow
def test_two_ranks_train_the_weights_and_the_optimizer_of_one_process(alone: Path, place: Path) -> None:
    for name in ("masters", "optimizer"):
        mine, theirs = (tensors(run, f"training/{name}.safetensors") for run in (place / "equal", alone))
        assert mine.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(mine[key], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_ranks_log_the_metrics_of_one_process(alone: Path, place: Path) -> None:
    for mine, theirs in zip(rows(place / "equal", "metrics.jsonl"), rows(alone, "metrics.jsonl"), strict=True):
        del mine["tokens_per_second"], theirs["tokens_per_second"]
        assert any(name.startswith("gradient_variance") for name in theirs)
        assert mine == pytest.approx(theirs, rel=1e-4)
    assert "swallowed_update_fraction" in rows(place / "equal", "metrics.jsonl")[0]


@pytest.mark.slow
def test_two_ranks_share_suites_and_give_the_answers_the_estimates_and_the_decisions_of_one(
    alone: Path, place: Path
) -> None:
    mine, theirs = samples(place / "equal"), samples(alone)
    assert len(theirs) == 9
    assert mine == theirs
    for left, right in zip(rows(place / "equal", "records.jsonl"), rows(alone, "records.jsonl"), strict=True):
        assert [left[key] for key in ("estimates", "decision", "spent")] == [
            right[key] for key in ("estimates", "decision", "spent")
        ]
        known = {name: value for name, value in right["readings"].items() if value is not None}
        assert {name: left["readings"][name] for name in known} == pytest.approx(known, rel=1e-4)
        assert left["readings"].keys() == right["readings"].keys()


@pytest.mark.slow
def test_the_export_of_two_ranks_is_a_model_folder_like_that_of_one(alone: Path, place: Path) -> None:
    mine, theirs = (tensors(run, "model.safetensors") for run in (place / "equal", alone))
    masters = tensors(place / "equal", "training/masters.safetensors")
    assert masters.keys() < mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        exact = masters[name].bfloat16() if name in masters else theirs[name]
        assert torch.equal(tensor, exact)
    saved, expected = (run / "checkpoint-5" for run in (place / "equal", alone))
    assert {path.name for path in saved.iterdir()} == {path.name for path in expected.iterdir()}
    for name in ("config.json", "generation_config.json"):
        assert (saved / name).read_text() == (expected / name).read_text()
    assert type(load(str(saved)).model).__name__ == "LlamaForCausalLM"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt_neox", "gemma3", "mixtral"])
def test_sharded_models_are_exported_in_the_form_of_their_families(fsdp: Path, tmp_path: Path, family: str) -> None:
    tiny_models.build(family).bfloat16().save_pretrained(tmp_path)
    ours, theirs = TensorFolder(fsdp / family), TensorFolder(tmp_path)
    assert ours.names() == theirs.names()
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.names())


@pytest.mark.slow
def test_a_broken_off_run_of_two_ranks_goes_on_bit_for_bit(place: Path) -> None:
    for name in ("model.safetensors", "training/masters.safetensors", "training/optimizer.safetensors"):
        mine, theirs = tensors(place / "broken", name), tensors(place / "unbroken", name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert samples(place / "broken") == samples(place / "unbroken")
    assert rows(place / "broken", "records.jsonl") == rows(place / "unbroken", "records.jsonl")
    states = [
        json.loads((place / run / "checkpoint-5" / "training" / "state.json").read_text())
        for run in ("broken", "unbroken")
    ]
    assert states[0]["rng_of_others"] == states[1]["rng_of_others"] != [states[1]["rng"]]


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all_with_its_words(ddp: Path, fsdp: Path) -> None:
    def told(name: str, place: Path) -> list[list[str]]:
        return [json.loads((place / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]

    assert told("deaf_rank", ddp) == [
        ["OtherRankFailed", "rank 1: DataError: this rank cannot answer"],
        ["DataError", "this rank cannot answer"],
    ]
    main, other = told("full_disk", fsdp)
    assert main[0] == "RunFolderError"
    assert "No space left" in main[1]
    assert other[0] == "OtherRankFailed"
    assert "No space left" in other[1]
    assert not list((fsdp / "full_disk").glob("checkpoint-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "what"), [("grpo", "play"), ("rft", "draw answers")])
def test_a_sharded_model_is_not_asked_for_answers_to_learn_from(fsdp: Path, method: str, what: str) -> None:
    for rank in (0, 1):
        kind, words = json.loads((fsdp / f"{method}_sharded-{rank}.json").read_text())
        assert kind == "UserError"
        assert f"method {method}: a sharded model cannot {what} yet" in words


def test_a_job_of_one_rank_asks_nobody() -> None:
    assert Ranks.here() == ALONE
    assert ALONE.is_main
    thing = object()
    assert ALONE.gathered(thing) == [thing]
    assert ALONE.on_main(lambda: thing) is thing
    assert ALONE.dealt([3, 4], lambda number: number * number) == [9, 16]
    with pytest.raises(ZeroDivisionError), ALONE.together():
        raise ZeroDivisionError


@pytest.mark.slow
def test_two_ranks_train_the_adapters_of_one_process(tmp_path: Path) -> None:
    alone, together = a_place(tmp_path / "alone"), a_place(tmp_path / "together")
    runpy.run_path(str(WORKER))["adapted"](alone)
    done = launch(together, "adapted")
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("training/masters.safetensors", "adapter/adapter_model.safetensors", "model.safetensors"):
        mine, theirs = (tensors(place / "adapted", name) for place in (together, alone))
        assert mine.keys() == theirs.keys()
        for key, tensor in theirs.items():
            half = tensor.dtype == torch.bfloat16
            torch.testing.assert_close(mine[key], tensor, rtol=1e-2 if half else 1e-4, atol=1e-4 if half else 1e-6)


@pytest.mark.slow
def test_sharded_ranks_refuse_adapters_in_words(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    done = launch(place, "sharded_adapters", **SHARDED)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        kind, words = json.loads((place / f"sharded_adapters-{rank}.json").read_text())
        assert kind == "UserError"
        assert "cannot be sharded" in words
