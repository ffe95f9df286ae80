"""Kinds of quantities against numbers that are made to be known, and the four verdicts."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml

from holdfast.errors import RecipeError, UserError
from holdfast.records import Estimate, Outcome, Record, Sample
from holdfast.report import load_runs, write_records
from holdfast.report.claims import claims_json, committed, evidence, judge, read_claims, tally, told
from holdfast.report.run_data import RunData
from holdfast.statistics import rate_by_cluster

STEPS = (0, 10, 20, 40, 80, 160)
N = 200


def answers_of(rates, seed):
    """Answers to N problems: the easiest are solved first, so that equal rates solve the same problems."""

    def read(suite, step):
        rate = rates[suite][STEPS.index(step)] + 0.01 * (seed - 1) * (0 < rates[suite][STEPS.index(step)] < 1)
        solved = np.arange(N) < round(rate * N)
        return tuple(
            Sample(k, str(k), "all", "", (), Outcome.CORRECT if ok else Outcome.WRONG, "", 1 if ok else None, 0.0, {})
            for k, ok in enumerate(solved)
        )

    return read


def a_run(selection, rates, *, seed, rate=1e-3, flops=1.0, task="general_points", norm=None, match="steps"):
    """A run in memory whose success follows ``rates``: suite to one rate a moment."""
    read = answers_of(rates, seed)
    records = []
    for step in STEPS:
        estimates = {
            f"eval_{suite}_success": rate_by_cluster(
                [s.outcome is Outcome.CORRECT for s in read(suite, step)], [str(k) for k in range(N)]
            )
            for suite in rates
        }
        readings = {name: estimate.value for name, estimate in estimates.items()}
        readings |= {"update_norm": norm * step / 160} if norm else {}
        records.append(Record(step, {"steps": step, "flops": step * flops}, readings, estimates))
    purposes = {"seen": "id", "id": "id", "ood": "ood", "new": "ood"}
    recipe = {
        "model_name_or_path": "tiny", "trainable": selection, "learning_rate": rate, "seed": seed,
        "data": {"environment": task}, "budget": {"match": match},
        "suites": {suite: {"purpose": purposes[suite]} for suite in rates},
    }  # fmt: skip
    name = f"{selection} {rate} {match}"
    return RunData(
        folder=None, name=name, axes={"arm": name, "task": task}, seed=seed, status="finished", recipe=recipe, plan={},
        metrics=(), records=tuple(records), result={}, answers=read,
    )  # fmt: skip


def runs_of(selection, *, seeds=(0, 1, 2), seen=(0.5, 0.8, 1, 1, 1, 1), ood=(0.5, 0.6, 0.5, 0.4, 0.3, 0.1), **options):
    gap = {"id": tuple(0.9 * value for value in seen)}
    return [a_run(selection, {"seen": seen, **gap, "ood": ood}, seed=seed, **options) for seed in seeds]


FULL = runs_of("full", flops=3.0)
ATTENTION = runs_of("attention", ood=(0.5, 0.55, 0.5, 0.5, 0.5, 0.48), seen=(0.5, 0.6, 0.8, 1, 1, 1), flops=2.0)
BOTH = [*FULL, *ATTENTION]


def row(quantity, **others):
    base = {"id": "a-claim", "seed": "000", "quote": "words", "where": "5", "studies": ["studies/figure1.yaml"]}
    return {**base, "quantity": quantity, **others}


def claims_of(tmp_path, *rows, **others):
    file = {
        "arms": {
            "full": {"trainable": "full"},
            "attention": {"trainable": "attention"},
            "largest": {"trainable": "full", "learning_rate": "largest"},
            "tenth": {"trainable": "full", "learning_rate": "largest/10"},
        },
        "claims": list(rows),
        "suites": {"validation": ["id"]},
        **others,
    }
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(file))
    return read_claims(path)


def judged(tmp_path, quantity, runs=BOTH, **others):
    return judge(claims_of(tmp_path, row(quantity, **others)), {"figure1": runs})


COMPARE = {"kind": "compare", "arm": "attention", "against": "full", "suite": "ood"}


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (COMPARE | {"above": 0}, 0.38),
        (COMPARE | {"above": 0, "at": "base"}, 0.0),
        (COMPARE | {"above": 0, "at": "late"}, (0.3 + 0.5 - 0.3 + 0.48 - 0.1 - 0.3) / 2),
        (COMPARE | {"above": 0, "at": "peak"}, 0.55 - 0.6),
        (COMPARE | {"above": 0, "suite": "seen", "minus": "id"}, 0.0),
        ({"kind": "change", "arm": "full", "suite": "ood", "below": 0}, -0.4),
        ({"kind": "change", "arm": "full", "suite": "ood", "since": "peak", "below": 0}, -0.5),
        ({"kind": "level", "arm": "full", "suite": "ood", "below": 0.2}, 0.1),
        ({"kind": "level", "arm": "full", "suite": "seen", "minus": "id", "above": 0}, 0.1),
        ({"kind": "cost", "arm": "attention", "against": "full", "below": 1}, 2 / 3),
        ({"kind": "best", "arm": "attention", "against": "full", "suite": "ood", "by": "ood", "above": 0}, -0.05),
        # ID is at its best first at step 20 (full) and 40 (attention), by fewest FLOPs; OOD is 0.5 at both
        ({"kind": "best", "arm": "attention", "against": "full", "suite": "ood", "by": "id", "above": 0}, 0.0),
        ({"kind": "best", "arm": "attention", "against": "full", "suite": "ood", "by": "final", "above": 0}, 0.38),
        # |0.4 - 0.3|, |0.3 - 0.1| against |0.5 - 0.5|, |0.5 - 0.48|
        ({"kind": "spread", "arm": "full", "against": "attention", "suite": "ood", "above": 0}, 0.15 - 0.01),
        # 0.9 lies half of the way from 0.8 to 1: at step 15, and at step 30
        ({"kind": "sooner", "arm": "full", "against": "attention", "suite": "seen", "to": 0.9, "below": 1}, 0.5),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_quantity_comes_to_the_number_that_was_made(tmp_path, quantity, value):
    (one,) = judged(tmp_path, quantity)
    assert one.measured is not None, one.why
    assert one.measured.estimate.value == pytest.approx(value, abs=0.012)
    assert one.measured.seeds == 3


def test_a_trend_is_the_slope_of_success_over_decades(tmp_path):
    runs = [
        run
        for power, end in ((-4, 0.5), (-3, 0.4), (-2, 0.1))
        for run in runs_of("full", rate=10.0**power, ood=(0.5,) * 5 + (end,), norm=10.0 ** (power / 2))
    ]
    for over, slope in (("learning_rate", -0.2), ("update_norm", -0.4)):
        (one,) = judged(
            tmp_path, {"kind": "trend", "arm": "full", "suite": "ood", "over": over, "below": 0}, runs, each=None
        )
        assert one.measured.estimate.value == pytest.approx(slope, abs=1e-6)
        assert one.verdict == "holds"


def test_a_trend_of_what_was_lost_is_the_slope_of_the_change(tmp_path):
    runs = [
        run
        for power, end in ((-4, 0.5), (-3, 0.4), (-2, 0.1))
        for run in runs_of("full", rate=10.0**power, ood=(0.1, 0.3 + end, 0.1, 0.1, 0.1, end))
    ]
    # Peaks of 0.8, 0.7 and 0.4, so 0.3 is lost everywhere, though ends differ.
    quantity = {"kind": "trend", "arm": "full", "suite": "ood", "since": "peak", "below": 0}
    (one,) = judged(tmp_path, quantity, runs, each=None)
    assert one.measured.estimate.value == pytest.approx(0.0, abs=1e-6)


def with_readings(runs, **of_step):
    """Runs whose records hold further readings; ``{seed}`` is added so that seeds differ a little."""
    found = []
    for run in runs:
        told = [
            {name: values[k] + 0.001 * run.seed for name, values in of_step.items()} for k in range(len(run.records))
        ]
        records = tuple(replace(r, readings={**r.readings, **t}) for r, t in zip(run.records, told, strict=True))
        found.append(replace(run, records=records))
    return found


NLL = (2.0, 0.5, 0.4, 0.6, 0.7, 0.8)


def test_a_reading_is_taken_at_the_end_at_the_peak_and_as_what_became_of_it(tmp_path):
    runs = with_readings(FULL, mass=(0.0, 0.1, 0.2, 0.4, 0.8, 1.6), norm=(1.0,) * 6)
    base = {"kind": "reading", "arm": "full", "reading": "mass", "above": 0}
    for more, value in (
        ({}, 1.601),
        ({"at": "first"}, 0.001),
        ({"at": "peak"}, 0.101),  # OOD success is best at step 10
        ({"since": "peak"}, 1.5),
        ({"since": "peak", "suite": "seen"}, 1.4),  # all seen problems are solved first at step 20
        ({"over": "norm", "at": "peak"}, 0.101 / 1.001),
        ({"over": "step"}, 1.601 / 160),
    ):
        (one,) = judged(tmp_path, {**base, **more}, runs)
        assert one.measured.estimate.value == pytest.approx(value, abs=1e-4), more
    (one,) = judged(tmp_path, {**base, "reading": "nothing"}, runs)
    assert "no record of full" in one.why


def test_what_a_rule_keeps_is_held_against_the_end_and_against_another_rule(tmp_path):
    runs = with_readings(FULL, validation_nll=NLL)
    quantity = {"kind": "stopping", "arm": "full", "signal": "patience on validation NLL", "suite": "ood", "above": 0}
    (one,) = judged(tmp_path, quantity, runs)
    assert one.measured.estimate.value == pytest.approx(0.5 - 0.1, abs=0.012)  # it keeps step 20
    assert one.verdict == "holds"
    assert "keeps 20, 20, 20" in one.measured.words
    (one,) = judged(tmp_path, {**quantity, "than": "OOD peak"}, runs)
    assert one.measured.estimate.value == pytest.approx(0.5 - 0.6, abs=0.012)
    (one,) = judged(tmp_path, {**quantity, "signal": "KL budget"}, runs)
    assert "kl_from_base" in one.why
    with pytest.raises(RecipeError, match="'never' is no signal"):
        judged(tmp_path, {**quantity, "signal": "never"}, runs)


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"above": 0.05}, "holds"),
        ({"above": 0.05, "below": 0.9}, "holds"),
        ({"below": 0}, "does not hold"),
        ({"above": 0.8}, "does not hold"),
        ({"above": 0.38}, "cannot tell"),
    ],
)
def test_the_interval_and_the_bounds_decide(tmp_path, bounds, verdict):
    (one,) = judged(tmp_path, COMPARE | bounds)
    assert one.verdict == verdict


def test_too_few_seeds_are_out_of_range(tmp_path):
    runs = [run for run in BOTH if run.seed < 2]
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, runs)
    assert (one.verdict, one.why) == ("out of range", "2 of at least 3 seeds")
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, runs, seeds=2)
    assert one.verdict != "out of range"


def test_a_need_that_is_not_met_is_out_of_range_and_told_with_its_number(tmp_path):
    need = {"kind": "change", "arm": "{against}", "suite": "ood", "since": "peak", "below": -0.6}
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, needs=[need])
    assert one.verdict == "out of range"
    assert "needs below −60.0, found full" in one.why
    assert "−50.0" in one.why
    met = {"kind": "level", "arm": "{arm}", "suite": "seen", "above": 0.9}
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, needs=[met])
    assert one.verdict == "holds"


def test_what_was_not_recorded_cannot_be_told_and_is_named(tmp_path):
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, FULL)
    assert (one.verdict, one.why) == ("cannot tell", "no run of attention (trainable attention)")
    (one,) = judged(tmp_path, COMPARE | {"above": 0, "suite": "nowhere"})
    assert "no suite nowhere" in one.why
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, [])
    assert one.why == "there are no records of this study"


def test_an_ambiguous_arm_decides_nothing(tmp_path):
    (one,) = judged(tmp_path, COMPARE | {"above": 0}, [*BOTH, *runs_of("full", rate=1e-4)])
    assert one.verdict == "cannot tell"
    assert "full may be any of" in one.why


def test_lists_suites_tasks_and_variants_get_a_verdict_each(tmp_path):
    there = [*BOTH, *(run for one in ("full", "attention") for run in runs_of(one, task="navigation"))]
    found = judged(tmp_path, {"kind": "level", "arm": ["full", "attention"], "suite": "every ood", "above": 0}, there)
    assert [one.of for one in found] == [
        f"{task}, tiny; {arm}; ood" for task in ("general_points", "navigation") for arm in ("full", "attention")
    ]
    two = [*FULL, *(run for match in ("flops", "trainable") for run in runs_of("attention", match=match))]
    found = judged(tmp_path, COMPARE | {"above": 0}, two, each="budget.match")
    assert [one.of for one in found] == [f"general_points, tiny; match {match}" for match in ("flops", "trainable")]
    found = judged(tmp_path, COMPARE | {"above": 0}, there, only={"data.environment": "navigation"})
    assert [one.of for one in found] == ["navigation, tiny"]


def test_the_nearest_to_a_fraction_of_the_largest_rate_is_taken_if_it_is_near(tmp_path):
    quantity = {"kind": "compare", "arm": "tenth", "against": "largest", "suite": "ood", "above": 0}
    runs = [*runs_of("full", rate=1e-2), *runs_of("full", rate=8e-4, ood=(0.5,) * 6)]
    (one,) = judged(tmp_path, quantity, runs)
    assert one.measured.words == "full 0.0008 steps 50.0 %, full 0.01 steps 10.0 %"
    (one,) = judged(tmp_path, quantity, [*runs_of("full", rate=1e-2), *runs_of("full", rate=2e-4)])
    assert one.why.startswith("no run of tenth")


def test_never_reaching_a_level_is_never_and_not_a_large_number(tmp_path):
    quantity = {"kind": "sooner", "arm": "full", "against": "attention", "suite": "seen", "to": 0.9, "below": 1}
    slow = runs_of("attention", seen=(0.5,) * 6)
    (one,) = judged(tmp_path, quantity, [*FULL, *slow])
    assert one.verdict == "holds"
    assert "attention never" not in one.of
    assert "never" in one.measured.words
    (one,) = judged(tmp_path, {**quantity, "arm": "attention", "against": "full"}, [*FULL, *slow])
    assert one.verdict == "does not hold"
    assert math.isinf(one.measured.estimate.value)
    assert claims_json([one])[0]["value"] is None
    mixed = [*slow[:2], ATTENTION[2]]
    (one,) = judged(tmp_path, quantity, [*FULL, *mixed])
    assert one.verdict == "cannot tell"


def test_without_the_answers_the_readings_decide_over_seeds_alone(tmp_path):
    bare = [replace(run, answers=lambda suite, step: (), _samples={}, derived={}) for run in BOTH]
    (one,), (whole,) = judged(tmp_path, COMPARE | {"above": 0}, bare), judged(tmp_path, COMPARE | {"above": 0})
    assert one.measured.estimate.value == pytest.approx(whole.measured.estimate.value)
    assert (one.measured.estimate.method, whole.measured.estimate.method) == ("seeds", "seeds and problems")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"quantity": {"kind": "comparison", "above": 0}}, "no such kind of quantity"),
        ({"quantity": COMPARE | {"against": "ful", "above": 0}}, "no arm is called 'ful'"),
        ({"quantity": COMPARE | {"expect": "greater", "above": 0}}, "no such option of kind of quantity compare"),
        ({"quantity": COMPARE}, "give above, below or both"),
        ({"quote": None}, "a-claim|claims.0.quote"),
        ({"sead": "1"}, "sead"),
        ({"needs": [{"kind": "level", "arm": "{against}", "above": 0}]}, "suite"),
    ],
)  # fmt: skip
def test_a_faulty_row_is_refused_by_name(tmp_path, change, match):
    with pytest.raises(RecipeError, match=match):
        claims_of(tmp_path, {**row(COMPARE | {"above": 0}), **change})


def test_two_rows_of_one_name_are_refused(tmp_path):
    one = row(COMPARE | {"above": 0})
    with pytest.raises(RecipeError, match="two rows have this id"):
        claims_of(tmp_path, one, one)


def test_verdicts_come_from_committed_records_found_by_name(make_study, tmp_path):
    study = make_study(
        tmp_path / "runs" / "figure1", names=("full, 1e-3", "attention, 1e-3"), seeds=(0, 1, 2), size=60, during=20
    )
    folder = write_records(load_runs(study), tmp_path / "results" / "figure1")
    claims = claims_of(tmp_path, row(COMPARE | {"above": 0.05}))
    (kept,) = judge(claims, evidence([folder], claims))
    (whole,) = judge(claims, evidence([study], claims))
    assert kept.verdict == "holds"
    assert told([kept]) == told([whole])
    assert tally([kept]) == "1 verdicts on 1 claims: 1 holds"
    assert json.loads(json.dumps(claims_json([kept])))[0]["n"] == 180
    write_records(load_runs(study), tmp_path / "results" / "beside")
    assert committed(tmp_path / "claims.yaml", claims) == [folder]
    with pytest.raises(UserError, match="no claim is decided by a study called results"):
        evidence([tmp_path / "results"], claims)


def test_an_exact_cost_needs_no_interval():
    from holdfast.report.claims.base import Measured

    assert Measured(Estimate(0.9, None, None, 3, 3, "counted"), 3, "", "ratio", exact=True).ends == (0.9, 0.9)
