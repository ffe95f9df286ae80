"""Every record of a run holds its distance from the base, and a signal may stop there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_base
from holdfast.plan import check
from holdfast.run import run

pytestmark = pytest.mark.slow


def test_a_run_stops_at_the_first_moment_that_is_as_far_from_the_base_as_was_asked(tmp_path: Path) -> None:
    values = {
        "model_name_or_path": str(tiny_base.write(tmp_path / "base")),
        "trainable": "attention",
        "data": {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "size": 64},
        "evaluate_at": {"every": 1},
        "budget": {"steps": 30},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "stop": {"signal": "reached", "reads": "update_norm_trained", "at": 0.1},
    }
    result = run(check(values, source="test"), folder=tmp_path / "run")
    assert result.status == "stopped"
    assert 1 < result.steps < 30
    told = [record.readings["update_norm_trained"] for record in result.records]
    assert told[0] == 0.0
    assert told == sorted(told)
    assert told[-2] < 0.1 <= told[-1]
    assert all(r.readings["update_norm"] < r.readings["update_norm_trained"] for r in result.records[1:])
    assert all(not record.estimates for record in result.records)
    last = json.loads((result.folder / "records.jsonl").read_text().splitlines()[-1])
    assert last["readings"]["update_norm_trained"] == told[-1]
    assert last["decision"]["best_step"] == result.steps
