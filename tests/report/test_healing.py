"""What healing gives back, on numbers made to be known: against interpolation, and peaks without the winner's curse."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.records import Outcome, Record, Sample
from holdfast.report.claims.base import Cell
from holdfast.report.claims.beyond import Beyond
from holdfast.report.claims.recovery import Recovery
from holdfast.report.compare import Arm
from holdfast.report.groups import sections
from holdfast.report.healed import groups, heal_of
from holdfast.report.honest_peak import honest_peak
from holdfast.report.matching import between, strength_at
from holdfast.report.run_data import RunData
from holdfast.report.sections import healing, restoration
from holdfast.statistics import rate_by_cluster

N = 200
SUITES = {"id": "id", "ood": "ood"}
ARMS = {"healed": {"arm": "union"}, "tuned": {"arm": "sft"}}


def a_run(name, rates, *, seed=0, start=None, heal=None, undone=None):
    """A run whose easiest problems are solved first; ``rates``: step to (id, ood)."""
    asked = {suite: {"purpose": purpose, "size_during": 1} for suite, purpose in SUITES.items()}

    def read(suite, step):
        if step not in rates:
            return ()
        share = rates[step][list(SUITES).index(suite)] + 0.01 * (seed - 1)
        return tuple(sample(k, k < round(share * N)) for k in range(N))

    records = []
    for step in sorted(rates):
        estimates = {
            f"eval_{suite}_success": rate_by_cluster(
                [one.outcome is Outcome.CORRECT for one in read(suite, step)], [one.key for one in read(suite, step)]
            )
            for suite in asked
        }
        readings = {key: one.value for key, one in estimates.items()} | {"update_norm": 0.1}
        readings |= {} if undone is None else {"heal_undone": undone, "heal_artefact": 0.25}
        records.append(Record(step, {"steps": step, "flops": 1e9 * step}, readings, estimates))
    recipe = {"model_name_or_path": "tiny", "data": {"environment": "game"}, "suites": asked, "seed": seed}
    recipe |= {"budget": {"steps": max(rates)}}
    recipe |= {} if start is None else {"starts_from": start}
    recipe |= {} if heal is None else {"heal": heal, "budget": {"steps": 0}}
    return RunData(
        folder=None, name=name, axes={"arm": name}, seed=seed, status="finished", recipe=recipe, plan={}, metrics=(),
        records=tuple(records), result={"heal_seconds": 2.0}, study="made", answers=read,
    )  # fmt: skip


def sample(k, ok):
    outcome = Outcome.CORRECT if ok else Outcome.WRONG
    return Sample(k, str(k), "all", "", (), outcome, "", 1 if ok else None, 0.0, {})


def study():
    """Fine-tuning forgets from 80 to 20 %; interpolation at half gives 50 %, union at a quarter undone 60 %."""
    runs, start = [], {"arm": "sft", "step": 80}
    for seed in (0, 1, 2):
        runs.append(a_run("sft", {0: (0.3, 0.5), 10: (0.7, 0.8), 80: (0.9, 0.2)}, seed=seed))
        for name, its, undone, rates in (
            ("half", {"name": "interpolate", "toward": "tiny"}, 0.5, (0.8, 0.5)),
            ("union", {"name": "union", "toward": "tiny"}, 0.25, (0.85, 0.6)),
        ):
            runs.append(a_run(name, {0: rates}, seed=seed, start=start, heal=its, undone=undone))
    (section,) = sections(runs)
    return section


def test_a_line_is_read_from_its_far_end():
    line = [(0.0, 0.9), (0.5, 0.8), (1.0, 0.3)]
    assert strength_at(line, 0.85) == pytest.approx(0.25)
    assert strength_at([(0.0, 0.5), (0.5, 0.7), (1.0, 0.3)], 0.5) == pytest.approx(0.75)  # not 0
    assert strength_at(line, 0.1) == 1.0
    assert strength_at(line, 2.0) == 0.0


def test_between_gives_the_weights_of_linear_interpolation():
    assert between([0.0, 0.5, 1.0], 0.5) == {1: 1.0}
    assert between([0.0, 0.4, 1.0], 0.1) == pytest.approx({0: 0.75, 1: 0.25})
    assert between([0.2], 0.9) == {0: 1.0}


def test_healed_arms_form_a_group_with_their_line_from_the_checkpoint_to_its_source():
    (group,) = groups(study())
    assert (group.start, group.toward) == ("sft, step 80", "tiny")
    assert [arm.name for arm in group.arms] == ["union"]
    assert [(point.undone, point.arm.name, point.step) for point in group.line] == [
        (0.0, "sft", 80), (0.5, "half", None), (1.0, "sft", 0),
    ]  # fmt: skip


def test_a_healer_is_held_against_interpolation_that_undoes_as_much_and_that_keeps_as_much():
    (table,) = [one for one in healing.part(study()).tables if "as much undone" in " ".join(one.columns)]
    union = dict(zip(table.columns, table.rows[0], strict=True))
    assert union["healer"] == "union"
    assert union["ood"].startswith("+40.0")
    # a quarter undone lies half-way between the checkpoint (20 %) and half (50 %): 35 %
    assert union["ood − interpolation, as much undone"].startswith("+25.0")
    # id 85 % is there half-way between 90 and 80 %: the same 35 %
    assert union["ood − interpolation, at equal id"].startswith("+25.0")
    assert "0.1 of the base's norm" in table.notes[0]


def test_healed_arms_are_no_further_fine_tuning_and_heal_of_needs_a_run_without_steps():
    assert restoration.part(study()) is None
    trained = a_run("then", {0: (0.1, 0.1), 5: (0.2, 0.2)}, heal={"name": "union", "toward": "tiny"})
    assert heal_of(trained) is not None
    longer = {**trained.recipe, "budget": {"steps": 5}}
    assert heal_of(RunData(**{**vars_of(trained), "recipe": longer})) is None


def vars_of(run):
    return {
        name: getattr(run, name)
        for name in ("folder", "name", "axes", "seed", "status", "plan", "metrics", "records", "result")
    }


def test_claims_measure_beyond_interpolation_and_recovery_since_the_end():
    cell = Cell(study(), ARMS, {})
    assert Beyond(arm="healed", suite="ood", at="undone", above=0).measure(cell).estimate.value == pytest.approx(0.25)
    told = Recovery(arm="healed", against="tuned", suite="ood", of="loss", since="end", above=0.5).measure(cell)
    assert told.estimate.value == pytest.approx((0.6 - 0.2) / (0.8 - 0.2), abs=0.01)


def test_the_peak_of_pure_noise_is_too_high_and_the_honest_one_is_not():
    """Forty moments of success 30 %, drawn anew each time: nothing peaks."""
    naive, honest = [], []
    for draw in range(12):
        generator = np.random.default_rng(draw)
        grades = generator.random((40, N)) < 0.3

        def read(_, step, grades=grades):
            return tuple(sample(k, bool(grades[step, k])) for k in range(N))

        records = tuple(Record(step, {}, {"eval_ood_success": float(grades[step].mean())}) for step in range(40))
        run = a_run("sft", {0: (0.1, 0.1)})
        run = RunData(**{**vars_of(run), "recipe": run.recipe, "records": records, "answers": read})
        told = honest_peak(Arm("sft", (run,)), "ood")
        naive.append(told.naive.value)
        honest.append(told.honest.value)
    assert np.mean(naive) > 0.35
    assert np.mean(honest) == pytest.approx(0.3, abs=0.015)


def test_the_honest_peak_needs_three_moments():
    assert honest_peak(Arm("sft", (a_run("sft", {0: (0.1, 0.1), 5: (0.2, 0.3)}),)), "ood") is None
