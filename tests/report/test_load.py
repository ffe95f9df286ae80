"""Run folders as they are found: finished, broken off, several, or none."""

from __future__ import annotations

import json
import shutil

import pytest

from holdfast.errors import RunFolderError
from holdfast.report import load_runs
from holdfast.report.load import read_lines


def test_a_study_folder_gives_its_runs_in_order_with_the_authors_notes(study):
    runs = load_runs(study)
    assert [(run.name, run.seed) for run in runs][:3] == [("full, 1e-3", 0), ("full, 1e-3", 1), ("attention, 1e-3", 0)]
    assert len(runs) == 8
    assert runs[0].notes == ("The numbers of this study are made up for a test.",)
    assert runs[0].axes == {"trainable": "full", "rate": "0.001"}
    assert [suite.exposure for suite in runs[0].suites.values()] == [
        "known to the base",
        "known to the base",
        "never seen",
    ]


def test_one_run_folder_several_and_a_folder_of_them_give_the_same_runs(make_run, tmp_path):
    one = make_run(tmp_path / "runs" / "one", size=20, during=20)
    two = make_run(tmp_path / "runs" / "two", name="mlp, 1e-3", size=20, during=20)
    assert [run.name for run in load_runs(one)] == ["full, 1e-3"]
    several, folder = load_runs([one, str(two)]), load_runs(tmp_path / "runs")
    assert [run.folder for run in several] == [run.folder for run in folder] == [one, two]


def test_a_run_given_twice_counts_once(make_run, tmp_path):
    one = make_run(tmp_path / "one", size=20, during=20)
    assert len(load_runs([one, one, tmp_path])) == 1


def test_runs_of_one_name_that_differ_in_more_than_the_seed_are_told_apart(make_run, tmp_path):
    for place, name in (("a", "full, 1e-3"), ("b", "full, 2e-4")):
        recipe = make_run(tmp_path / place, name=name, size=20, during=20) / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace(f"run_name: {name}", "run_name: same"))
    make_run(tmp_path / "c", seed=1, size=20, during=20)
    recipe = tmp_path / "c" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("run_name: full, 1e-3", "run_name: same"))
    assert [run.name for run in load_runs(tmp_path)] == ["same", "same (2)", "same"]


def test_a_line_that_was_broken_off_while_it_was_written_is_left_out(make_run, tmp_path):
    records = make_run(tmp_path / "run", size=20, during=20) / "records.jsonl"
    whole = load_runs(tmp_path / "run")[0].records
    records.write_text(records.read_text() + '{"step": 320, "spe')
    assert load_runs(tmp_path / "run")[0].records == whole


def test_a_damaged_line_in_the_middle_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl:2 is not JSON"):
        read_lines(path)


def test_a_line_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text("[1]\n")
    with pytest.raises(RunFolderError, match=r"x\.jsonl:1 is not a JSON object but list"):
        read_lines(tmp_path / "x.jsonl")


def test_a_folder_without_a_run_is_refused_by_name(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        load_runs(tmp_path)
    with pytest.raises(RunFolderError, match="holds no run"):
        load_runs(tmp_path / "nowhere")


def test_a_run_that_is_not_finished_is_read_as_far_as_it_got(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=20, during=20)
    (folder / "result.json").unlink()
    (folder / "plan.json").unlink()
    shutil.rmtree(folder / "samples")
    (run,) = load_runs(folder)
    assert run.status == "unfinished"
    assert run.faults == ("plan.json is missing", "result.json is missing")
    assert run.samples("id", 0) == ()
    assert list(run.suites) == ["id", "ood", "ood_new"]


def test_a_run_that_the_study_calls_failed_is_kept_without_records(make_study, tmp_path):
    root = make_study(tmp_path / "study", names=("full, 1e-3",), seeds=(0,), size=20, during=20)
    entries = json.loads((root / "runs.json").read_text())
    entries.append({"name": "mlp", "axes": {}, "seed": 0, "folder": "runs/nowhere", "status": "failed"})
    (root / "runs.json").write_text(json.dumps(entries))
    assert [(run.name, run.status, len(run.records)) for run in load_runs(root)] == [
        ("full, 1e-3", "finished", 8),
        ("mlp", "failed", 0),
    ]


def test_readings_taken_down_after_the_run_join_the_records_of_their_moments(make_run, tmp_path):
    one = make_run(tmp_path / "one", size=20, during=20)
    (before,) = load_runs(one)
    first, last = before.records[0].step, before.records[-1].step
    line = {"step": last, "readings": {"spectral_values": 0.25}}
    (one / "spectra.jsonl").write_text(json.dumps(line) + "\n")
    (after,) = load_runs(one)
    assert after.record_at(last).readings == {**before.record_at(last).readings, "spectral_values": 0.25}
    assert after.record_at(first).readings == before.record_at(first).readings
