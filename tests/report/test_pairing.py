"""Suites whose problems are answered several times: compared, judged, and told on the page."""

from __future__ import annotations

import json

import pytest

from holdfast.report import load_runs, table, write
from holdfast.report.compare import Change, arms, duels, results
from holdfast.report.contrasts import base, end, level
from holdfast.report.pairing import both, compared
from holdfast.report.tables import REPEATED


def repeat(folder, suite, *, right):
    """Rewrite a suite as answered twice; the second answer to a problem is right if ``right(step, index)``."""
    for path in (folder / "samples" / suite).glob("*.jsonl"):
        lines = []
        for row in map(json.loads, path.read_text().splitlines()):
            outcome = "correct" if right(int(path.stem), row["index"]) else "wrong"
            lines += [row, {**row, "outcome": outcome}]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def row_of(rows, suite):
    return next(row for row in rows if row.suite.name == suite)


def test_repeated_suites_are_compared_by_problem_and_the_others_as_before(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=60, during=30)
    before = results(arms(load_runs(folder)))
    repeat(folder, "ood", right=lambda step, index: step == 0 or index % 10 == 0)
    found = results(arms(load_runs(folder)))
    paired = row_of(found, "ood").paired
    assert (paired.method, paired.n) == ("means", 60)
    (run,) = load_runs(folder)
    mean = [sum(s.outcome.value == "correct" for s in run.samples("ood", step)) / 120 for step in (0, 160)]
    assert paired.difference == pytest.approx(mean[1] - mean[0])
    assert paired.low <= paired.difference <= paired.high < 0
    assert row_of(found, "ood").change is Change.LOST
    assert row_of(found, "id").paired == row_of(before, "id").paired
    assert row_of(found, "id").paired.method == "mcnemar"


def test_what_never_changed_is_not_called_kept(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=60, during=30)
    for step in (0, 160):
        path = folder / "samples" / "ood" / f"{step}.jsonl"
        path.write_text((folder / "samples" / "ood" / "0.jsonl").read_text())
    repeat(folder, "ood", right=lambda step, index: index % 2 == 0)
    row = row_of(results(arms(load_runs(folder))), "ood")
    assert (row.paired.difference, row.paired.low, row.paired.high) == (0.0, 0.0, 0.0)
    assert row.change is Change.UNCLEAR


def test_arms_meet_on_problems_that_were_answered_several_times(make_study, tmp_path):
    root = make_study(tmp_path, names=("full, 1e-3", "mlp, 1e-3"), seeds=(0, 1), size=40, during=20)
    for folder in (root / "runs").iterdir():
        repeat(folder, "ood", right=lambda step, index, mlp="mlp" in folder.name: mlp or step == 0)
    groups = arms(load_runs(root))
    duel = row_of(duels(groups), "ood")
    assert (duel.paired.method, duel.paired.n) == ("means", 80)
    assert duel.paired.low > 0.3
    assert duel.p_adjusted < 0.001
    # A term of a study's contrast: before, only readings were left, without an interval over problems.
    told = level(groups[0], "ood", end(groups[0], "ood"))
    assert told.n == 80
    assert told.low < told.value < told.high
    assert level(groups[0], "ood", base(groups[0])).value > told.value


def test_the_page_and_the_terminal_say_how_repeated_problems_are_compared(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=40, during=20)
    plain = write(load_runs(folder), tmp_path / "plain.html").read_text()
    assert "answered several times" not in plain
    assert REPEATED not in table(load_runs(folder)).notes
    repeat(folder, "ood", right=lambda step, index: step == 0)
    assert REPEATED in write(load_runs(folder), tmp_path / "repeated.html").read_text()
    told = table(load_runs(folder))
    assert REPEATED in told.notes
    (change,) = [row[5] for row in told.rows if row[1] == "ood"]
    assert change.startswith("−")


def test_problems_that_only_one_side_holds_are_left_out(make_run, tmp_path):
    (run,) = load_runs(make_run(tmp_path / "run", size=20, during=20))
    once = run.samples("id", 0)
    assert len(both(once, once[:12])) == 12
    assert {len(problem.second) for problem in both(once, once + once)} == {2}
    assert compared(both(once, ())) is None
    assert compared(both(once, once)).method == "mcnemar"
