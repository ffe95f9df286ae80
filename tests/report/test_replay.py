"""Signals on finished runs: what they keep, what that gives away, and what is said where nothing was recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import made_study
from holdfast.cli import main
from holdfast.errors import RunFolderError
from holdfast.records import Record
from holdfast.report import words
from holdfast.report.groups import sections
from holdfast.report.regret import Kept, best_moment, outcome
from holdfast.report.replay_page import replayed, summary, write
from holdfast.report.replaying import suites_of
from holdfast.report.sections import PARTS
from holdfast.signals.ready import READY, Ready


@pytest.fixture(scope="module")
def runs():
    """Two arms of three seeds, whose validation NLL is lowest at step 70."""
    found = []
    for rate in (1e-3, 4e-3):
        for seed in (0, 1, 2):
            axes = {"task": "points", "learning_rate": f"{rate:g}"}
            made = made_study.run(axes, seed, module="full", rate=rate, match="steps", n=60, study="stopping")
            found.append(recorded(made))
    return found


def recorded(run):
    values = {0: 2.0, 30: 1.0, 70: 0.5, 140: 0.6, 200: 0.7, 400: 0.9}
    records = tuple(
        Record(one.step, one.spent, {**one.readings, "validation_nll": values[one.step]}, one.estimates)
        for one in run.records
    )
    measuring = {
        "suites": {name: {"times": 6, "seconds": 12.0} for name in run.suites},
        "probes": {"validation": {"times": 6, "seconds": 3.0, "flops": 6e9, "readings": ["validation_nll"]}},
    }
    result = {**run.result, "measuring": measuring, "train_seconds": 100.0, "spent": {"flops": 1e12}}
    return replace(run, records=records, result=result)


def right(run, suite, step):
    return np.array([sample.outcome.value == "correct" for sample in run.samples(suite, step)], dtype=float)


def row_of(found, name):
    return next(row for row in found.rows if row.name == name)


def test_the_regret_of_a_moment_is_the_best_trained_rate_less_the_rate_there(runs):
    kept = [Kept("a", run, 200) for run in runs[:3]]
    told = outcome(kept, "ood")
    each = []
    for run in runs[:3]:
        rates = {step: right(run, "ood", step).mean() for step in made_study.STEPS if step > 0}
        each.append(max(rates.values()) - rates[200])
    assert told.each == pytest.approx(each)
    assert told.regret.value == pytest.approx(np.mean(each))
    assert told.level.value == pytest.approx(np.mean([right(run, "ood", 200).mean() for run in runs[:3]]))
    assert told.regret.low < told.regret.value < told.regret.high


def test_arms_are_averaged_within_each_seed(runs):
    kept = [Kept(run.name, run, 400) for run in runs]
    by_arm = [outcome([one for one in kept if one.arm == name], "ood").regret.value for name in {r.name for r in runs}]
    assert outcome(kept, "ood").regret.value == pytest.approx(np.mean(by_arm))


def test_what_is_chosen_on_one_half_and_measured_on_the_other_is_not_flattered():
    """Eight moments that are all coin flips: the best of them beats a ninth by luck alone, and cross-fitted by none."""
    plain, fitted = [], []
    for seed in range(40):
        run = coins(seed)
        told = outcome([Kept("coins", run, 9)], "ood")
        plain.append(told.regret.value)
        fitted.append(told.fitted.value)
    assert np.mean(plain) > 0.04
    assert abs(np.mean(fitted)) < 0.02


MADE = made_study.run({"task": "points"}, 0, n=8)


def coins(seed):
    generator = np.random.default_rng(seed)
    flips = {step: generator.random(80) < 0.5 for step in range(1, 10)}

    def answers(_suite, step):
        return tuple(
            made_study._sample(number, bool(ok), "ood", "faces_as_5_7_9", whole=False)
            for number, ok in enumerate(flips.get(step, ()))
        )

    records = tuple(Record(step, {}, {"eval_ood_success": float(ok.mean())}) for step, ok in flips.items())
    return replace(MADE, seed=seed, records=records, answers=answers, derived={}, _samples={})


def test_without_the_problems_readings_stand_in_and_nothing_is_cross_fitted(runs):
    bare = [replace(run, answers=lambda _suite, _step: (), derived={}, _samples={}) for run in runs[:3]]
    told = outcome([Kept("a", run, 400) for run in bare], "ood")
    full = outcome([Kept("a", run, 400) for run in runs[:3]], "ood")
    assert told.regret.value == pytest.approx(full.regret.value)
    assert (told.fitted, told.regret.method) == (None, "seeds")


def test_every_signal_that_is_recorded_is_replayed_and_the_others_are_named(runs):
    (found,) = replayed(runs)
    assert [row.name for row in found.rows] == ["no stopping", *READY]
    told = row_of(found, "patience on validation NLL")
    assert {(one.step, one.kept) for one in told.runs} == {(400, 70)}
    assert row_of(found, "KL budget").missing == ("kl_from_base",)
    peak = row_of(found, "OOD peak")
    assert peak.oracle
    assert peak.regret.value <= min(row.regret.value for row in found.rows if row.regret is not None) + 1e-12
    assert all(one.kept == 400 for one in row_of(found, "no stopping").runs)
    text = "\n".join(" ".join(row) for row in found.table.rows)
    assert "KL budget not recorded" in text
    assert any("kl_from_base" in note and "guessed" in note for note in found.table.notes)


def test_what_measuring_cost_counts_the_moments_until_the_stop(runs):
    (found,) = replayed(
        runs, signals={"early": Ready({"signal": "reached", "reads": "validation_nll", "at": 0.5, "mode": "min"})}
    )
    (told,) = (row for row in found.rows if row.name == "early")
    # Three moments of half a second each, in 70 of 400 steps of 100 seconds.
    assert told.runs[0].seconds == pytest.approx(3 * 0.5 / (100.0 * 70 / 400))
    assert told.runs[0].flops == pytest.approx(3 * 1e9 / (1e12 * 70 / 400))
    assert told.runs[0].trained == 70 / 400
    suites = replayed(runs, signals={"id": READY["patience on ID success"]})[0].rows[1]
    assert suites.runs[0].flops == 0.0
    assert suites.runs[0].seconds > 0.0
    assert suites.flattered


def test_runs_without_costs_are_replayed_and_the_cost_is_unknown(runs):
    bare = [replace(run, result={}) for run in runs]
    (found,) = replayed(bare, signals={"id": READY["patience on ID success"]})
    assert found.rows[1].runs[0].seconds is None
    assert found.table.rows[1][-1] == "–"


def test_the_page_is_written_from_records_alone_and_the_same_each_time(runs, tmp_path):
    found = replayed(runs)
    first = write(found, tmp_path / "one").read_text()
    assert first == write(replayed(runs), tmp_path / "two").read_text()
    assert (tmp_path / "one" / "replay-figures" / "replay-0.png").is_file()
    assert "patience on validation NLL" in first
    assert "<svg" in first


def test_a_study_that_recorded_probes_tells_on_its_page_when_to_stop(runs):
    (section,) = sections([replace(run, recipe={**run.recipe, "probes": {"validation": {}}}) for run in runs])
    made = PARTS["stopping"](section)
    assert made.title == "When to stop"
    assert [row[0] for row in made.tables[0].rows][:2] == ["no stopping", "patience on validation NLL"]
    (plain,) = sections(runs)
    assert PARTS["stopping"](plain) is None


def test_runs_without_an_ood_suite_are_refused(runs):
    with pytest.raises(RunFolderError, match="--ood"):
        replayed(runs, ood="no_such_suite")
    with pytest.raises(RunFolderError, match="none has recorded"):
        replayed([replace(run, records=()) for run in runs])


def test_the_oracle_is_the_best_trained_moment_and_never_the_base(runs):
    assert best_moment(runs[0], "ood") > 0
    assert best_moment(replace(runs[0], records=runs[0].records[:1]), "ood") is None


def test_the_verb_prints_tables_or_json_and_refuses_what_it_does_not_know(study, tmp_path, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["holdfast", "replay", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    code, out, _ = call(str(study), "--output", str(tmp_path))
    assert code == 0
    assert "patience on OOD success" in out
    assert f"page: {tmp_path / 'replay.html'}" in out
    code, out, _ = call(
        str(study), "--json", "--signal", "patience", "--set", "reads=eval_id_success", "--set", "patience=1"
    )
    told = json.loads(out)[0]["signals"]
    assert [row["signal"] for row in told] == ["no stopping", "patience"]
    assert told[1]["runs"][0]["kept"] in (0, 2, 5, 10, 20, 40, 80, 160)
    code, _, err = call(str(study), "--signal", "patienc")
    assert (code, 'Did you mean "patience"' in err) == (2, True)
    code, _, err = call(str(study), "--set", "patience=1")
    assert (code, "--signal" in err) == (2, True)
    assert call()[0] == 2


def test_a_suite_of_a_file_may_be_called_validation(runs):
    def called(name):
        """The runs, their suite of the split ``validation`` replaced by a file's of some name."""
        asked = {"path": "mine.jsonl", "scorer": "exact", "purpose": "id", "size": 60, "size_during": 60}
        found = []
        for run in runs:
            others, planned = (
                {k: v for k, v in of.get("suites", {}).items() if k != "validation"} for of in (run.recipe, run.plan)
            )
            recipe = {**run.recipe, "suites": {**others, name: asked}}
            found.append(replace(run, recipe=recipe, plan={**run.plan, "suites": planned}))
        return suites_of(sections(found)[0])

    assert called("validation")["validation"] == "validation"
    assert "validation" not in called("held_out")


def test_several_tasks_are_summed_up_by_the_mean_regret(runs, tmp_path):
    other = [replace(run, axes={**run.axes, "task": "more points"}) for run in runs]
    signals = {name: READY[name] for name in ("patience on validation NLL", "KL budget", "OOD peak")}
    found = replayed([*runs, *other], signals=signals)
    table = summary(found)
    assert table.columns == ("signal", "points, tiny", "more points, tiny", "mean")
    assert table.rows[-1] == ("KL budget", *[words.UNKNOWN] * 3)  # its readings were not recorded
    (nll,) = [row for row in table.rows if row[0] == "patience on validation NLL"]
    regret = row_of(found[0], "patience on validation NLL").regret.value
    assert nll[1] == nll[2]
    assert nll[3] == words.points(regret)
    assert "All tasks" in write(found, tmp_path).read_text()
    assert "All tasks" not in write(found[:1], tmp_path).read_text()
