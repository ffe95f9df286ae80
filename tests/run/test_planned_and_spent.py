"""What a plan foretells is what a run spends, to the last FLOP where it could read every step."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import tiny_base
from holdfast.plan import check, plan, steps
from holdfast.run import run


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rows of 5 to 150 words, so that steps differ much in what they cost."""
    folder = tmp_path_factory.mktemp("planned")
    words = random.Random(0)
    rows = [
        {"prompt": "numbers " * words.randint(1, 120), "completion": "cards " * words.randint(1, 20)} for _ in range(40)
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "model_name_or_path": str(tiny_base.write(folder / "base")),
        "attn_implementation": "eager",
        "trainable": {"preset": "attention", "layers": "last:1"},
        "data": {"path": str(folder / "rows.jsonl")},
        "evaluate_at": "end",
        "budget": {"steps": 9, "match": "flops"},
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
    }


@pytest.mark.slow
def test_a_run_spends_what_was_planned(values: dict[str, Any], tmp_path: Path) -> None:
    recipe = check(values, source="test")
    planned = plan(recipe)
    assert planned.steps > 9
    assert planned.steps_read == planned.steps
    result = run(recipe, folder=tmp_path / "run", planned=planned)
    told = json.loads((result.folder / "result.json").read_text())
    spent = told["spent"]
    for name, amount in planned.total.to_json().items():
        assert spent[name] == pytest.approx(amount, rel=1e-12), name
    assert 0 < told["train_seconds"] + told["measure_seconds"] < told["wall_seconds"]
    assert told["tokens_per_second"] == pytest.approx(spent["tokens"] / told["train_seconds"])
    # Times are of no use to who repeats the run: they stand beside its records, never in them.
    assert "seconds" not in (result.folder / "records.jsonl").read_text()


def test_a_plan_that_reads_a_third_of_the_steps_is_within_two_percent(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = check({**values, "budget": {"steps": 300}}, source="test")
    exact = plan(recipe)
    monkeypatch.setattr(steps, "ROWS_READ", 600)
    estimated = plan(recipe)
    assert (exact.steps_read, estimated.steps_read) == (300, 100)
    assert estimated.total.flops == pytest.approx(exact.total.flops, rel=0.02)
    assert estimated.total.flops != exact.total.flops
