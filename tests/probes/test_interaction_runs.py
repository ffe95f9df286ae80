"""Interactions at the moments of real runs of a tiny base, and on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny_base
from holdfast.cli import main
from holdfast.plan import check
from holdfast.probes import PROBES
from holdfast.probes.interactions.cheap import InteractionsCheap
from holdfast.probes.interactions.probe import Interactions
from holdfast.report.files import read_records
from holdfast.run import run
from holdfast.signals.interactions import READ

PROMPT = "rule J=10 Q=10 K=10\ncards 4 Q A 4\ntarget 24"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base.write(tmp_path_factory.mktemp("base"))


def recipe(base: Path, **changes: Any) -> Any:
    values = {
        "model_name_or_path": str(base),
        "data": {
            "environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse",
            "answer_format": "values_formula", "size": 64,
        },
        "evaluate_at": [0, 1, 2],
        "budget": {"steps": 2},
        "per_device_train_batch_size": 4,
        "probes": {
            "interactions": {"prompts": 4, "players": 4, "templates": ["{prompt}", "Task: {prompt}"]},
            "interactions_cheap": {"prompts": 2, "players": 3},
        },
        **changes,
    }  # fmt: skip
    return check(values, source="test")


def readings(folder: Path) -> list[dict[str, float | None]]:
    return [dict(record.readings) for record in read_records(folder / "records.jsonl")]


@pytest.mark.slow
def test_a_rate_of_zero_changes_no_interaction(base: Path, tmp_path: Path) -> None:
    run(recipe(base, learning_rate=0.0), folder=tmp_path / "still")
    for told in readings(tmp_path / "still"):
        for name in ("emerged_count", "removed_count", "turnover", "balance", "noise_turnover"):
            assert told[f"interactions_{name}"] == 0.0, name
        assert told["interactions_preserved_count"] > 0


@pytest.mark.slow
def test_training_changes_interactions_and_pays_no_more_than_was_said(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    run(recipe(base, learning_rate=3e-2), folder=folder)
    told = readings(folder)
    assert told[0]["interactions_turnover"] == 0.0
    assert told[2]["interactions_turnover"] > 0.0
    assert told[2]["interactions_removed"] > 0.0
    assert 0 <= told[2]["words_evidence"] <= 1
    assert all(name in told[2] for name in READ)
    costs = [json.loads(line)["probes"] for line in (folder / "costs.jsonl").read_text().splitlines()]
    for paid in costs:
        for name in ("interactions", "interactions_cheap"):
            assert 0 < paid[name]["flops"] <= paid[name]["estimate"]
    kept = [json.loads(line)["kept"] for line in (folder / "probes" / "interactions.jsonl").read_text().splitlines()]
    assert len(kept[0]["asked"]["games"]) == 4
    assert {"players", "target", "base_probability"} <= kept[0]["asked"]["games"][0].keys()
    assert kept[2]["told"]["turnover"]["n"] == 4


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        Interactions(players=11)
    with pytest.raises(ValueError, match="templates"):
        Interactions(templates=("no place for it",))
    with pytest.raises(ValueError, match="masking"):
        Interactions(masking="zeros")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompts"):
        InteractionsCheap(prompts=1)
    assert Interactions(templates=["{prompt}"]) == Interactions(templates=("{prompt}",))  # type: ignore[arg-type]


def test_the_probe_writes_what_the_signal_reads() -> None:
    assert "interactions" in PROBES
    assert set(READ) <= set(Interactions.readings)


def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", "interactions", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_verb_prints_and_draws_one_prompt(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_base.write(tmp_path / "other", seed=1)
    code, out, err = verb(
        monkeypatch, capsys, str(other), "--prompt", PROMPT, "--target", "24", "--base", str(base), "--players", "5",
        "--output", str(tmp_path / "page"),
    )  # fmt: skip
    assert code == 0, err
    assert "target: '24'" in out
    assert "emerged" in out
    found = json.loads((tmp_path / "page" / "interactions.json").read_text())
    assert len(found["players"]) == 5
    assert len(found["interactions"]) == 2 * 31
    assert [side["name"] for side in found["sides"]] == [str(base), str(other)]
    for number, side in enumerate(found["sides"]):
        total = sum(one["strengths"][number] for one in found["interactions"])
        assert total == pytest.approx(side["everything"] - side["nothing"], abs=side["residual"] + 1e-6)
    page = (tmp_path / "page" / "interactions.html").read_text()
    assert "By order" in page
    assert (tmp_path / "page" / "interactions-figures" / "interactions.png").is_file()


def test_the_verb_watches_the_models_own_answer_without_a_target(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = verb(monkeypatch, capsys, str(base), "--prompt", PROMPT, "--players", "3")
    assert code == 0, err
    assert "preserved" not in out


def test_the_verb_refuses_a_masking_that_it_does_not_know(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = verb(monkeypatch, capsys, str(base), "--prompt", PROMPT, "--masking", "zeros")
    assert code == 2
    assert "no such masking" in err
