"""The signal that ends arms equally far from the base, on histories worked out by hand."""

from __future__ import annotations

import pytest

from holdfast.records import Record, Verb
from holdfast.signals.reached import Reached
from holdfast.signals.replay import replay


def history(*values, name="update_norm"):
    return [Record(10 * k, {}, {name: value}) for k, value in enumerate(values)]


def test_a_run_ends_at_the_first_moment_at_or_past_the_value():
    told = replay(Reached(at=0.05), history(0.0, 0.04, 0.05, 0.2))
    assert (told.stop_step, told.kept_step) == (20, 20)
    assert told.decision.keep
    assert told.decision.reason == "update_norm came to 0.05 at step 20"


def test_a_run_that_never_gets_there_goes_to_its_end_and_keeps_nothing():
    told = replay(Reached(at=0.05), history(0.0, 0.04, 0.049))
    assert (told.stop_step, told.kept_step, told.decision.verdict) == (None, None, Verb.GO_ON)


def test_in_min_mode_the_reading_falls_to_the_value():
    told = replay(Reached(reads="nll", at=0.5, mode="min"), history(2.0, 0.6, 0.4, 0.9, name="nll"))
    assert told.stop_step == 20


def test_a_moment_without_a_reading_is_passed_over():
    told = replay(Reached(at=0.05), history(0.0, None, float("nan"), 0.06))
    assert told.stop_step == 30


@pytest.mark.parametrize("options", [{"at": float("nan")}, {"mode": "up"}])
def test_options_that_can_never_be_met_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Reached(**options)
