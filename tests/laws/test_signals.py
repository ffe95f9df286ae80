"""What every signal obeys. Run over the members of the table with their default options."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import NotRecorded
from holdfast.members import find
from holdfast.records import Record, Verb
from holdfast.signals import SIGNALS
from holdfast.signals.base import Signal

MEMBERS = sorted(SIGNALS)
VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.25, 0.5])), max_size=12)


def signal_named(name) -> Signal:
    return find("signal", name, SIGNALS)()


def history(signal, values, *, halves=True):
    records = []
    for step, value in enumerate(values):
        shown = dict.fromkeys(signal.needs, value)
        select = {name + "_select": value for name in signal.needs} if halves else {}
        records.append(Record(7 * step, {"steps": 7.0 * step}, shown | select))
    return records


@pytest.mark.parametrize("name", MEMBERS)
def test_a_signal_is_a_frozen_value_that_keeps_the_contract(name):
    signal = signal_named(name)
    assert isinstance(signal, Signal)
    assert dataclasses.is_dataclass(signal)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(signal, dataclasses.fields(signal)[0].name, None)
    assert isinstance(signal.oracle, bool)


@pytest.mark.parametrize("name", MEMBERS)
def test_an_empty_history_abstains(name):
    decision = signal_named(name).decide([])
    assert decision.verdict is Verb.ABSTAIN
    assert decision.best_step is None


@pytest.mark.parametrize("name", MEMBERS)
@given(values=VALUES, later=VALUES)
def test_a_decision_on_a_prefix_never_looks_beyond_it(name, values, later):
    signal = signal_named(name)
    whole = history(signal, values + later)
    assert signal.decide(whole[: len(values)]) == signal.decide(history(signal, values))
    assert signal.decide(whole) == signal.decide(list(whole))


@pytest.mark.parametrize("name", MEMBERS)
@given(values=VALUES)
def test_the_best_step_is_a_step_of_the_history_and_keep_says_that_it_is_the_last(name, values):
    signal = signal_named(name)
    run = history(signal, values)
    decision = signal.decide(run)
    assert decision.best_step is None or decision.best_step in {record.step for record in run}
    assert not decision.keep or decision.best_step == run[-1].step


@pytest.mark.parametrize("name", MEMBERS)
@given(values=VALUES)
def test_a_step_that_is_called_best_was_kept_when_it_was_there(name, values):
    """A run saves a checkpoint where ``keep`` says so, and can go back to no other moment, but the last."""
    signal = signal_named(name)
    run = history(signal, values)
    kept = set()
    for length in range(1, len(run) + 1):
        decision = signal.decide(run[:length])
        kept |= {run[length - 1].step} if decision.keep else set()
        assert decision.best_step is None or decision.best_step in kept
        if decision.verdict is Verb.STOP:
            break


@pytest.mark.parametrize("name", MEMBERS)
@given(values=VALUES)
def test_an_unknown_last_value_abstains(name, values):
    signal = signal_named(name)
    if signal.needs:
        assert signal.decide(history(signal, [*values, None])).verdict is Verb.ABSTAIN


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_reading_raises_not_recorded_and_is_never_guessed(name):
    signal = signal_named(name)
    if signal.needs:
        run = [*history(signal, [0.5, 0.4]), Record(14, {}, {"another": 0.1})]
        with pytest.raises(NotRecorded, match="step 14"):
            signal.decide(run)


@pytest.mark.parametrize("name", MEMBERS)
def test_an_oracle_reads_the_report_half_and_no_other_signal_does(name):
    signal = signal_named(name)
    if not signal.needs:
        return
    flat, moving = [0.5] * 6, [0.1, 0.2, 0.9, 0.3, 0.2, 0.1]
    both = zip(history(signal, moving, halves=False), history(signal, flat), strict=True)
    select = {name + "_select" for name in signal.needs}
    mixed = [
        Record(shown.step, {}, dict(shown.readings) | {key: whole.readings[key] for key in select})
        for shown, whole in both
    ]
    reads_report = signal.decide(mixed) == signal.decide(history(signal, moving))
    assert reads_report is signal.oracle
