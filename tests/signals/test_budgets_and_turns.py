"""Signals that one rule makes of any reading, on histories worked out by hand."""

from __future__ import annotations

import pytest

from holdfast.errors import UserError
from holdfast.records import Record, Verb
from holdfast.signals.behind import Behind
from holdfast.signals.combined import Combined
from holdfast.signals.drift import Drift
from holdfast.signals.interactions import (
    BALANCE,
    GAMMA_EMERGED,
    GAMMA_PRESERVED,
    NOISE,
    ORDER_EMERGED,
    ORDER_PRESERVED,
    PAST_BEST,
    READ,
    REMOVAL,
    RHO_EMERGED,
    RHO_PRESERVED,
    STABLE_EMERGED,
    STABLE_PRESERVED,
    TURNOVER,
    Interactions,
)
from holdfast.signals.replay import replay
from holdfast.signals.rises import Rises
from holdfast.signals.turn import Turn


def history(*values, name="x"):
    return [Record(10 * k, {}, {name: value}) for k, value in enumerate(values)]


def steps(signal, *values, name="x"):
    told = replay(signal, history(*values, name=name))
    return told.stop_step, told.kept_step


def test_a_budget_keeps_the_last_moment_within_it():
    assert steps(Drift("x", by=0.05), 1.0, 1.02, 1.049, 1.2, 1.0) == (30, 20)
    assert steps(Drift("x", by=0.05), 1.0, 1.02, 0.2) == (None, 20)


def test_a_budget_may_be_a_share_of_the_start_and_of_a_fall():
    assert steps(Drift("x", by=0.5, mode="down", relative=True), 4.0, 3.0, 2.0, 1.9) == (30, 20)
    assert steps(Drift("x", by=0.5, relative=True), 0.0, 0.0, 1e-9) == (20, 10)


def test_a_budget_counts_from_the_first_known_value():
    assert steps(Drift("x", by=0.5), None, 3.0, None, 3.4, 3.6) == (40, 30)


def test_generalization_loss_is_relative_to_the_best_so_far():
    assert steps(Behind("x", by=0.125), 2.0, 1.0, 1.125, 1.2, 0.1) == (30, 10)
    assert steps(Behind("x", by=0.1, relative=False, mode="max"), 0.5, 0.8, 0.75, 0.69) == (30, 10)


def test_rises_are_counted_from_the_start_or_in_a_row():
    values = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0]
    assert steps(Rises("x", times=3), *values) == (40, 40)
    assert steps(Rises("x", times=3, in_a_row=True), *values) == (50, 50)
    assert steps(Rises("x", times=2, mode="down"), 3.0, None, 2.0, 2.0, 1.0) == (40, 40)


def test_the_first_local_minimum_of_the_average_is_kept_once_it_has_risen():
    assert steps(Turn("x", window=1), 5.0, 3.0, 3.0, 4.0, 1.0) == (30, 10)
    # Averages of two, from step 10 on: 4, 2.5, 2, 3
    assert steps(Turn("x", window=2), 5.0, 3.0, 2.0, 2.0, 4.0) == (40, 30)
    assert steps(Turn("x", window=1), 1.0, 2.0, 3.0) == (None, None)


def test_a_reading_that_rises_from_the_start_has_no_minimum_before_it_falls():
    assert steps(Turn("x", window=1), 1.0, 2.0, 1.5, 1.8) == (30, 20)


ODD = {
    GAMMA_EMERGED: 0.1, GAMMA_PRESERVED: 0.6, RHO_EMERGED: 0.0, RHO_PRESERVED: 0.4, ORDER_EMERGED: 5.0,
    ORDER_PRESERVED: 2.0, REMOVAL: 0.0, TURNOVER: 0.5, STABLE_EMERGED: None, STABLE_PRESERVED: None,
    NOISE["repeats"]: 0.1, NOISE["templates"]: 0.9,
}  # fmt: skip


def moments(*told, **changes):
    return [
        Record(10 * k, {}, {**ODD, **changes, BALANCE: balance, PAST_BEST: past})
        for k, (balance, past) in enumerate(told)
    ]


PAST = ((0.0, 0.0), (0.3, 0.0), (0.2, 0.95), (0.25, 0.5), (0.1, 0.93), (-0.2, 1.0), (-0.4, 1.0))


def test_interactions_stop_at_the_second_check_in_a_row_that_is_past_the_best():
    told = replay(Interactions(), moments(*PAST))
    assert (told.stop_step, told.kept_step) == (50, 10)
    assert replay(Interactions(checks=1), moments(*PAST)).stop_step == 20


def test_interactions_may_keep_the_latest_moment_that_is_not_surely_past_the_best():
    latest = Interactions(keep="latest")
    told = replay(latest, moments(*PAST))
    assert (told.stop_step, told.kept_step) == (50, 30)  # 0.95 and 0.93 are past it, 0.5 is not
    assert replay(latest, moments(*PAST[:4])).kept_step == 30
    assert replay(latest, moments((0.0, 0.0), (-0.1, 0.8), (-0.2, 0.85))).kept_step == 20
    assert replay(Interactions(), moments((0.0, 0.0), (-0.1, 0.8), (-0.2, 0.85))).kept_step == 0


def test_interactions_need_two_facts_that_say_why():
    silent = {GAMMA_EMERGED: 0.5, RHO_EMERGED: 0.9, ORDER_EMERGED: 1.0}
    assert replay(Interactions(), moments(*PAST, **silent)).stop_step is None
    assert replay(Interactions(), moments(*PAST, **{**silent, ORDER_EMERGED: 3.0})).stop_step == 50
    # A fact that is unknown does not speak.
    unknown = {GAMMA_EMERGED: None, RHO_EMERGED: None, ORDER_EMERGED: None}
    assert replay(Interactions(), moments(*PAST, **unknown)).stop_step is None


def test_interactions_abstain_where_two_measurements_differ_as_much_as_training_did():
    decision = Interactions(against="templates").decide(moments(*PAST))
    assert (decision.verdict, decision.best_step) == (Verb.ABSTAIN, 0)
    assert "differ as much" in decision.reason


def test_interactions_read_what_their_list_names():
    assert {*ODD, BALANCE, PAST_BEST} == {*READ, *NOISE.values()}
    assert set(Interactions().needs) == {*READ, NOISE["repeats"]}


def test_interactions_ask_templates_where_no_other_model_was_asked():
    solo = {GAMMA_EMERGED: None, GAMMA_PRESERVED: None, RHO_EMERGED: 0.9, ORDER_EMERGED: 1.0}
    assert replay(Interactions(), moments(*PAST, **solo)).stop_step is None
    assert (
        replay(Interactions(), moments(*PAST, **solo, **{STABLE_EMERGED: 0.1, STABLE_PRESERVED: 0.5})).stop_step == 50
    )


def test_interactions_by_templates_read_their_balance_and_no_other_model():
    solo = {"interactions_stable_balance": 0.0, "interactions_stable_past_best": 0.0, RHO_EMERGED: 0.9}
    assert replay(Interactions(by="templates"), moments(*PAST, **solo)).kept_step == 0
    found = moments(*PAST, **{**solo, STABLE_EMERGED: 0.1, STABLE_PRESERVED: 0.5})
    for record, (balance, past) in zip(found, PAST, strict=True):
        told = {"interactions_stable_balance": balance, "interactions_stable_past_best": past}
        record.readings.update({**told, BALANCE: 0.0, PAST_BEST: 0.0})
    assert replay(Interactions(), found).stop_step is None
    assert replay(Interactions(by="templates"), found).stop_step == 50


A = {"signal": "patience", "reads": "a", "patience": 1}
B = {"signal": "patience", "reads": "b", "patience": 1}
BUDGET = {"signal": "drift", "reads": "c", "by": 1.0}


def two(*rows):
    return [Record(10 * k, {}, dict(zip("abc", row, strict=True))) for k, row in enumerate(rows)]


RUN = ((1, 1, 0), (2, 0, 0), (1, 2, 0), (0, 1, 0), (3, 3, 9))


def test_a_quorum_stops_where_enough_say_so_at_one_moment_and_keeps_the_first_ones_best():
    assert replay(Combined([A, B]), two(*RUN)).stop_step == 30
    assert replay(Combined([A, B], quorum=1), two(*RUN)).stop_step == 10
    told = replay(Combined([A, B]), two(*RUN))
    assert told.kept_step == 10


def test_a_veto_stops_at_once_and_what_is_kept_lies_before_it():
    rising = {"signal": "patience", "reads": "c", "patience": 1}
    told = replay(Combined([A, rising], veto=[BUDGET]), two((1, 1, 0), (2, 0, 0), (1, 2, 0.5), (9, 1, 9)))
    assert (told.stop_step, told.kept_step) == (30, 10)
    assert told.decision.reason.startswith("veto: c went from 0 to 9")


def test_a_quorum_that_too_few_can_vote_on_abstains():
    decision = Combined([A, B]).decide(two((1, 1, 0), (0, None, 0)))
    assert decision.verdict is Verb.ABSTAIN
    assert "too few" in decision.reason


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"of": []}, "at least one"),
        ({"of": [A], "quorum": 2}, "quorum"),
        ({"of": [{"signal": "ood_peak"}]}, "oracle"),
        ({"of": [{"reads": "a"}]}, "block with signal"),
    ],
)
def test_what_cannot_be_combined_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        Combined(**options)


def test_a_combined_signal_names_what_it_does_not_know():
    with pytest.raises(UserError, match='Did you mean "patience"'):
        Combined([{"signal": "patiense"}])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Drift(by=0),
        lambda: Drift(mode="min"),
        lambda: Behind(by=float("inf")),
        lambda: Rises(times=0),
        lambda: Turn(window=1.5),
        lambda: Interactions(confidence=0.5),
        lambda: Interactions(facts=5),
    ],
)
def test_options_that_mean_nothing_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()
