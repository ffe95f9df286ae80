"""The divergence from the base is that of two whole distributions, and asking for it changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_base
import tiny_models
from holdfast.data.batches import collate
from holdfast.data.encode import Encoded
from holdfast.errors import RecipeError
from holdfast.plan import check
from holdfast.probes.base_divergence import BaseDivergence
from holdfast.run import run

ROWS = [([3, 5, 7, 9, 11, 4], 2), ([8, 6, 2], 1), ([5, 5, 9, 2, 1, 7, 3], 4)]


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(folder / "base"),
        "data": {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "size": 64},
        "evaluate_at": {"every": 1},
        "budget": {"steps": 3},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        **changes,
    }


def test_both_directions_are_the_mean_over_target_tokens_of_the_sum_over_the_vocabulary() -> None:
    torch.manual_seed(0)
    model, base = (tiny_models.build("llama").float().eval() for _ in range(2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    rows = [Encoded(tuple(ids), n_prompt) for ids, n_prompt in ROWS]
    batches = [collate(rows[:2], pad_token_id=0), collate(rows[2:], pad_token_id=0)]
    told = BaseDivergence(model, base, batches, compute_dtype=torch.float32).read()
    forward, backward = [], []
    for ids, n_prompt in ROWS:
        with torch.no_grad():
            now, then = (one(torch.tensor([ids])).logits[0].double().log_softmax(-1) for one in (model, base))
        for place in range(n_prompt - 1, len(ids) - 1):
            forward.append(float((then[place].exp() * (then[place] - now[place])).sum()))
            backward.append(float((now[place].exp() * (now[place] - then[place])).sum()))
    assert told["kl_from_base"] == pytest.approx(sum(forward) / len(forward), rel=1e-4)
    assert told["kl_to_base"] == pytest.approx(sum(backward) / len(backward), rel=1e-4)
    assert told["kl_from_base"] > 1e-3


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_run_that_asks_records_it_at_every_moment_and_trains_the_same(tmp_path: Path, method: str) -> None:
    tiny_base.write(tmp_path / "base")
    told = {"method": {"name": "grpo", "num_generations": 2, "max_new_tokens": 4}} if method == "grpo" else {}
    plain, asked = (
        run(check(values(tmp_path, **told, **more), source="test"), folder=tmp_path / name)
        for name, more in (("plain", {}), ("asked", {"kl_rows": 6}))
    )
    assert asked.records[0].readings["kl_from_base"] == pytest.approx(0.0, abs=1e-6)
    assert all(record.readings["kl_to_base"] >= 0.0 for record in asked.records)
    if method == "sft":
        assert asked.records[1].readings["kl_from_base"] > 1e-5
    assert "kl_from_base" not in plain.records[-1].readings
    lines = [
        [json.loads(line) for line in (one.folder / "metrics.jsonl").read_text().splitlines()] for one in (plain, asked)
    ]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]
    assert plain.records[-1].spent == asked.records[-1].spent


def test_a_signal_may_stop_at_a_divergence_and_is_told_when_none_is_read(tmp_path: Path) -> None:
    tiny_base.write(tmp_path / "base")
    stop = {"signal": "reached", "reads": "kl_from_base", "at": 1e-5}
    stopped = run(check(values(tmp_path, stop=stop, kl_rows=4), source="test"), folder=tmp_path / "run")
    assert (stopped.status, stopped.steps < 3) == ("stopped", True)
    with pytest.raises(RecipeError, match="kl_rows: 64"):
        check(values(tmp_path, stop=stop), source="test")


def test_a_recipe_that_does_not_ask_keeps_its_name(tmp_path: Path) -> None:
    tiny_base.write(tmp_path / "base")
    recipe = check(values(tmp_path), source="test")
    assert "kl_rows" not in recipe.identity()
    assert check(values(tmp_path, kl_rows=4), source="test").hash() != recipe.hash()
