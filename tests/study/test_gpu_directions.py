"""The study for one GPU at toy size: it pre-trains, fine-tunes, finds peaks, heals, looks at bands, leaves records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.report import load_runs
from holdfast.study import load

ROOT = Path(__file__).parents[2]
GPU = ROOT / "studies" / "gpu"


@pytest.mark.slow
def test_every_arm_of_the_toy_leaves_records_and_every_healed_one_says_what_it_undid(tmp_path: Path) -> None:
    words = [sys.executable, str(GPU / "directions.py"), "--toy", "--output", "records"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    study = load(GPU / "directions.yaml", quick=True)
    runs = {run.name: run for run in load_runs(tmp_path / "records")}
    assert list(runs) == [arm.name for arm in study.arms]
    ran = load(tmp_path / "runs" / "studies" / "directions-toy" / "directions.yaml", quick=True)
    for arm in ran.arms:
        first, *later = runs[arm.name].records
        assert first.readings["eval_ood_success"] is not None
        healed = arm.labels["arm"] != "tuned"
        assert (not later) is healed
        assert ("heal_undone" in first.readings) is healed
        if healed:
            assert 0 < (first.readings["heal_undone"] or 0) <= 1
    peaks = {arm.labels["rate"]: arm.toward.step for arm in ran.arms if arm.toward is not None}
    assert set(peaks) == {arm.labels["rate"] for arm in study.arms}
    for rate, step in peaks.items():
        between = {
            one.step: one.readings["eval_choosing_success"] or 0.0 for one in runs[f"{rate}, tuned"].records[1:-1]
        }
        assert list(between) == [1, 2, 3]
        assert step == max(between, key=lambda at: between[at])
    assert (tmp_path / "records" / "bands" / "1e-4" / "spectral.json").is_file()
    assert not [path for path in (tmp_path / "records").rglob("*") if path.suffix == ".safetensors"]


def test_the_steps_of_the_peaks_are_checkpoints_that_are_measured_before_the_last() -> None:
    for arm in load(GPU / "directions.yaml").arms:
        if arm.labels["arm"] == "tuned":
            moments = arm.recipe.evaluate_at
            assert isinstance(moments, list)
            assert {step for step in moments if step} <= set(range(0, 321, arm.recipe.save_steps))
            assert "choosing" in arm.recipe.suites
            assert arm.recipe.suites["choosing"].split == "validation"


@pytest.mark.parametrize("quick", [False, True])
def test_arms_are_healed_towards_the_base_that_they_were_tuned_from(quick: bool) -> None:
    study = load(GPU / "directions.yaml", quick=quick)
    to_base = [arm for arm in study.arms if arm.labels["arm"].endswith("to base")]
    assert to_base
    for arm in to_base:
        assert arm.recipe.heal is not None
        assert arm.recipe.heal["toward"] == arm.base
        assert arm.base == ("runs/directions-base-toy" if quick else "runs/directions-base")
