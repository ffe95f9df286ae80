"""The two signals on histories worked out by hand."""

from __future__ import annotations

import pytest

from holdfast.errors import NotRecorded, UserError
from holdfast.members import build
from holdfast.records import Record, Verb
from holdfast.signals import SIGNALS
from holdfast.signals.ood_peak import OODPeak
from holdfast.signals.patience import Patience
from holdfast.signals.reading import is_split, reading, readings
from holdfast.signals.replay import replay


def history(*values, name="eval_ood_success", steps=None):
    return [
        Record(step, {}, {name: value})
        for step, value in zip(steps or range(0, 10 * len(values), 10), values, strict=True)
    ]


def test_patience_stops_three_moments_after_the_best():
    told = replay(Patience(patience=3), history(0.75, 0.8, 0.6, 0.5, 0.3, 0.2))
    assert (told.stop_step, told.kept_step) == (40, 10)
    assert told.kept.readings["eval_ood_success"] == 0.8
    assert told.decision.reason == "eval_ood_success was best at step 10 (0.8); 3 of 3 since"


def test_patience_that_outlasts_a_dip_keeps_the_recovery_and_less_of_it_does_not():
    dip = history(0.5, 0.7, 0.55, 0.4, 0.45, 0.6, 0.8, 0.82, 0.79)
    short, long = replay(Patience(patience=3), dip), replay(Patience(patience=5), dip)
    assert (short.stop_step, short.kept_step) == (40, 10)
    assert (long.stop_step, long.kept_step) == (None, 70)


def test_a_margin_that_no_step_of_a_recovery_takes_keeps_the_value_before_the_dip():
    slow = history(0.7, 0.5, 0.6, 0.68, 0.74, 0.78)
    assert Patience(patience=9, min_delta=0.1).decide(slow).best_step == 0
    assert Patience(patience=9, min_delta=0.05).decide(slow).best_step == 50


def test_patience_keeps_the_earlier_of_two_equal_moments():
    assert Patience().decide(history(0.5, 0.9, 0.9)).best_step == 10


def test_an_improvement_of_just_min_delta_is_none():
    assert Patience(min_delta=0.25).decide(history(0.5, 0.75)).best_step == 0
    assert Patience(min_delta=0.25).decide(history(0.5, 0.7501)).best_step == 10


def test_small_steps_below_min_delta_add_up_against_the_best():
    assert Patience(min_delta=0.15).decide(history(0.5, 0.6, 0.7)).best_step == 20


def test_min_mode_stops_where_a_loss_turns():
    told = replay(Patience(reads="nll", mode="min", patience=1), history(2.0, 1.0, 1.5, 0.1, name="nll"))
    assert (told.stop_step, told.kept_step) == (20, 10)


def test_moments_before_the_warm_up_neither_count_nor_are_kept():
    signal = Patience(warmup=20, patience=1)
    assert signal.decide(history(0.9, 0.8)).verdict is Verb.ABSTAIN
    told = replay(signal, history(0.9, 0.8, 0.1, 0.2, 0.1))
    assert (told.stop_step, told.kept_step) == (40, 30)


def test_an_unknown_moment_is_passed_over_and_does_not_use_up_patience():
    told = replay(Patience(patience=2), history(0.8, 0.7, None, float("nan"), 0.6))
    assert told.stop_step == 40


def test_a_stop_is_not_taken_back_in_a_replay_by_what_comes_later():
    told = replay(Patience(patience=2), history(0.8, 0.1, 0.1, 0.9))
    assert (told.stop_step, told.kept_step) == (20, 0)


def test_the_oracle_names_the_best_step_of_the_whole_run_and_never_stops():
    told = replay(OODPeak(), history(0.5, 0.3, 0.9, 0.1))
    assert (told.stop_step, told.kept_step, told.oracle) == (None, 20, True)


def test_patience_reads_the_select_half_and_the_oracle_the_report_half():
    run = [
        Record(0, {}, {"eval_ood_success": 0.2, "eval_ood_success_select": 0.9}),
        Record(10, {}, {"eval_ood_success": 0.8, "eval_ood_success_select": 0.1}),
    ]
    assert Patience().decide(run).best_step == 0
    assert OODPeak().decide(run).best_step == 10
    assert is_split(run[0], "eval_ood_success")


def test_a_series_never_mixes_the_two_halves():
    run = [Record(0, {}, {"a": 1.0, "a_select": 0.5}), Record(10, {}, {"a": 1.0})]
    assert reading(run[1], "a", "select") == 1.0
    with pytest.raises(NotRecorded, match="no reading 'a_select' at step 10"):
        readings(run, "a", "select")


def test_a_missing_reading_names_the_nearest_that_is_recorded():
    with pytest.raises(NotRecorded, match='Did you mean "eval_ood_success"'):
        Patience(reads="eval_odd_success").decide(history(0.5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patience": 0}, "at least 1, got 0"),
        ({"min_delta": -0.1}, "at least 0, got -0.1"),
        ({"min_delta": float("nan")}, "at least 0, got nan"),
        ({"mode": "best"}, "max or min, got 'best'"),
        ({"patients": 3}, 'Did you mean "patience"'),
    ],
)
def test_a_faulty_option_is_refused_with_its_value(options, words):
    with pytest.raises(UserError, match=words):
        build("signal", {"name": "patience", **options}, SIGNALS)


def test_a_replay_of_nothing_abstains():
    told = replay(Patience(), [])
    assert (told.decision.verdict, told.stopped, told.kept) == (Verb.ABSTAIN, None, None)


def test_the_peak_may_leave_out_the_base():
    run = [Record(10 * k, {}, {"eval_ood_success": rate}) for k, rate in enumerate([0.9, 0.4, 0.6, 0.5])]
    assert replay(OODPeak(), run).kept_step == 0
    assert replay(OODPeak(warmup=1), run).kept_step == 20
    assert OODPeak(warmup=1).decide(run[:1]).verdict is Verb.ABSTAIN
