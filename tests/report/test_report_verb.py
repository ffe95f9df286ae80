"""``holdfast report``: pages, compact records and verdicts from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import made_study
from holdfast.cli import app
from holdfast.report import write_records
from holdfast.report.claims import read_claims

CLAIMS = Path(__file__).parent.parent.parent / "docs" / "claims.yaml"


def report(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=True)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A claims file with committed records of two studies beside it."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "claims.yaml").write_text(CLAIMS.read_text())
    for name in ("figure1", "figure3"):
        write_records(getattr(made_study, name)(n=20), folder / "results" / name)
    return folder


def test_claims_are_judged_by_the_records_beside_their_file(records):
    done = report("--claims", "--claims-file", records / "claims.yaml")
    assert done.exit_code == 0, done.output
    assert "takeaway-1: “Fine-tuning feedforward layers" in done.output
    assert "holdfast study studies/sft_without_overfitting/figure3.yaml" in done.output
    assert "there are no records of this study" in done.output
    assert f"verdicts on {len(read_claims(CLAIMS).claims)} claims" in done.output


def test_claims_as_json_tell_value_interval_n_and_the_command(records):
    done = report("--claims", "--json", "--claims-file", CLAIMS, records / "results" / "figure1")
    rows = json.loads(done.output)
    found = next(row for row in rows if row["id"] == "takeaway-1" and row["study"] == "figure1")
    assert found["verdict"] in ("holds", "does not hold", "cannot tell", "out of range")
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["seeds"], found["interval_over"]) == (60, 3, "seeds and problems")
    assert found["command"] == "holdfast study studies/sft_without_overfitting/figure1.yaml"


def test_a_study_is_exported_and_its_records_read_like_it(make_study, tmp_path):
    study = make_study(tmp_path / "study", names=("full, 1e-3",), seeds=(0,), size=20, during=10)
    done = report(study, "--export", tmp_path / "kept")
    assert (done.exit_code, done.output) == (0, f"records: {tmp_path / 'kept'}\n")
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        "outcomes.jsonl", "problems.jsonl", "records.jsonl", "runs.jsonl", "study.json",
    ]  # fmt: skip


def test_a_page_of_records_holds_the_verdicts_that_its_study_decides(records, tmp_path):
    kept = write_records(made_study.figure1(seeds=(0,), n=8)[:1], tmp_path / "figure1")
    done = report(kept, "--claims-file", records / "claims.yaml")
    assert done.exit_code == 0, done.output
    page = (kept / "report.html").read_text()
    assert "takeaway-1" in page
    assert "takeaway-3" not in page


def test_a_stranger_among_the_folders_and_no_folder_are_refused_in_one_line(records, tmp_path):
    done = report("--claims", "--claims-file", CLAIMS, tmp_path)
    assert "the folder of a study's runs or records must be called as its file" in str(done.exception)
    assert "or ask for --claims" in str(report().exception)
    assert "give the file with --claims-file" in str(report("--claims", "--claims-file", tmp_path / "no").exception)
