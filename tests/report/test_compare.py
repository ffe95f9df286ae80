"""Arms against their base and against each other."""

from __future__ import annotations

import dataclasses
import json

import pytest

from holdfast.report import load_runs, table
from holdfast.report.compare import Change, arms, base_and_end, duels, estimate, results
from holdfast.report.pairing import matched, solved
from holdfast.report.stopping import stops
from holdfast.report.tables import facts_table
from holdfast.statistics import holm, mcnemar


def test_one_seed_is_told_by_its_own_record(make_run, tmp_path):
    (run,) = load_runs(make_run(tmp_path / "run", size=60, during=30))
    (arm,) = arms([run])
    for step in (0, 160):
        assert estimate(arm, "ood", step) == run.record_at(step).estimates["eval_ood_success"]


def test_several_seeds_pool_their_problems_and_a_problem_stays_one(study):
    arm = arms(load_runs(study))[0]
    pooled = estimate(arm, "ood", None)
    own = [run.records[-1].estimates["eval_ood_success"] for run in arm.runs]
    assert pooled.n == sum(one.n for one in own) == 400
    assert pooled.clusters == own[0].clusters
    assert pooled.value == pytest.approx(sum(one.value for one in own) / 2)
    assert pooled.high - pooled.low == pytest.approx(own[0].high - own[0].low, rel=0.1)


def test_equal_bases_of_several_seeds_count_once(study):
    arm = arms(load_runs(study))[0]
    assert estimate(arm, "ood", 0) == arm.runs[0].records[0].estimates["eval_ood_success"]


def test_the_verdicts_follow_the_rule_on_the_page(study):
    rows = results(arms(load_runs(study)))
    adjusted = holm([row.paired.p_value for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        assert row.p_adjusted == p
        clear = p <= 0.05 and not row.paired.low <= 0 <= row.paired.high
        if clear:
            expected = Change.GAINED if row.paired.difference > 0 else Change.LOST
        elif row.paired.low >= -0.05 and row.paired.high <= 0.05:
            expected = Change.KEPT
        else:
            expected = Change.UNCLEAR
        assert row.change is expected
    found = {(row.arm.name, row.suite.name): row.change for row in rows}
    assert found["full, 1e-3", "ood"] is Change.LOST
    assert found["full, 2e-4", "ood"] is not Change.LOST


def test_the_paired_test_is_that_of_the_samples_on_disk(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=60, during=30)
    rows = [
        [json.loads(line) for line in (folder / "samples" / "ood" / f"{step}.jsonl").read_text().splitlines()]
        for step in (0, 160)
    ]
    right = [[row["outcome"] == "correct" for row in each] for each in rows]
    expected = mcnemar(*right, [row["key"] for row in rows[0]])
    found = next(row for row in results(arms(load_runs(folder))) if row.suite.name == "ood")
    assert found.paired == expected


def test_only_the_report_half_is_compared(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=40, during=40)
    for path in (folder / "samples" / "ood").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["half"] = "select" if row["index"] % 2 else "report"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = load_runs(folder)
    assert {sample.half for sample in run.samples("ood", 0)} == {"report"}
    assert len(base_and_end(run, "ood")) == 20


def test_problems_answered_several_times_are_not_paired(make_run, tmp_path):
    (run,) = load_runs(make_run(tmp_path / "run", size=20, during=20))
    once = run.samples("id", 0)
    assert len(matched(once, once)) == 20
    assert matched(once + once, once) == matched(once, once + once) == []


def test_problems_of_another_key_are_not_paired(make_run, tmp_path):
    (run,) = load_runs(make_run(tmp_path / "run", size=20, during=20))
    other = [dataclasses.replace(sample, key="another") for sample in run.samples("id", 0)]
    assert matched(run.samples("id", 0), other) == []


def test_without_samples_nothing_is_tested_and_nothing_called_kept(make_run, tmp_path):
    import shutil

    folder = make_run(tmp_path / "run", size=20, during=20)
    shutil.rmtree(folder / "samples")
    for row in results(arms(load_runs(folder))):
        assert row.paired is None
        assert row.change is Change.UNKNOWN
        assert row.end.value is not None


def test_up_to_four_arms_meet_each_other_seed_by_seed(study):
    groups = arms(load_runs(study))
    rows = duels(groups)
    assert len(rows) == 3 * 6
    row = next(r for r in rows if (r.suite.name, r.first.name, r.second.name) == ("ood", "full, 1e-3", "full, 2e-4"))
    assert row.paired.n == 400
    ends = [[solved(s) for run in arm.runs for s in run.samples("ood", 160)] for arm in (row.first, row.second)]
    assert row.paired.difference == pytest.approx((sum(ends[1]) - sum(ends[0])) / 400)


def test_the_terminal_table_has_a_row_for_every_arm_and_suite(study):
    found = table(load_runs(study))
    assert len(found.rows) == 4 * 3
    assert all(len(row) == len(found.columns) == len(found.align) for row in found.rows)


def test_success_at_k_and_facts_are_told_for_every_arm(make_study, tmp_path):
    root = make_study(tmp_path, names=("full, 1e-3", "mlp, 1e-3"), seeds=(0,), size=40, during=20, attempts=3)
    found = facts_table(arms(load_runs(root)))
    assert [row[:2] for row in found.rows if row[0] == "ood"] == [
        ("ood", "success at 3"),
        ("ood", "format ok"),
        ("ood", "right under training rule"),
    ]
    assert {row[0] for row in found.rows} == {"id", "ood", "ood_new"}


def test_every_signal_is_replayed_and_only_the_peak_is_an_oracle(study):
    rows = [row for row in stops(arms(load_runs(study))) if row.arm == "full, 1e-3"]
    assert [(row.signal, row.oracle) for row in rows] == [
        ("patience on id", False),
        ("patience on ood", False),
        ("patience on ood_new", False),
        ("peak of ood", True),
        ("peak of ood_new", True),
    ]
    assert all(len(row.kept) == len(row.stopped) == 2 for row in rows)


def test_the_runs_own_signal_is_replayed_first_and_a_missing_reading_is_told(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=20, during=20)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "stop: {signal: patience, reads: eval_oood_success, patience: 2}\n")
    first = stops(arms(load_runs(folder)))[0]
    assert first.signal == "patience on oood (the run's own)"
    assert 'Did you mean "eval_ood_success"' in first.missing
