"""What reinforcement gives back, what remedies gain and lose, and gains by difficulty, on numbers made to be known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.errors import NotRecorded
from holdfast.records import Outcome, Record, Sample
from holdfast.report.claims.anew import Anew
from holdfast.report.claims.base import Cell
from holdfast.report.claims.harder import Harder
from holdfast.report.claims.recovery import Recovery
from holdfast.report.contrasts import Term, at
from holdfast.report.difficulty import gains_by_level
from holdfast.report.groups import sections
from holdfast.report.ratios import ratio
from holdfast.report.run_data import RunData
from holdfast.report.sections import difficulty, remedies, restoration
from holdfast.statistics import rate_by_cluster

N = 400
SUITES = {"id": "id", "ood": "ood", "kept": "retention"}
ARMS = {"arm": {"arm": "rl from 40"}, "tuned": {"arm": "sft"}, "first": {"arm": "first"}, "other": {"arm": "other"}}


def a_run(name, rates, *, seed=0, start=None, method="sft", mixed=None, status="finished", best_step=None, new=()):
    """A run whose easiest problems are solved first; ``rates``: step to success, of every suite or one each."""
    asked = {suite: {"purpose": purpose, "size_during": 1} for suite, purpose in SUITES.items()}
    asked["ood_16"] = {"purpose": "ood", "size_during": 0, "decoding": {"samples": 4}}

    def rate_of(suite, step):
        told = rates[step]
        return told if isinstance(told, float) else told[suite]

    def read(suite, step):
        if step not in rates:
            return ()
        if suite == "ood_16":
            solved = range(round(20 * rate_of("ood", step)))
            return tuple(
                sample(k, draw == 2 and (k in solved or (k in new and step == max(rates))))
                for k in range(20)
                for draw in range(4)
            )
        share = rate_of(suite, step) + 0.01 * (seed - 1)
        return tuple(sample(k, k < round(share * N)) for k in range(N))

    records = []
    for step in sorted(rates):
        estimates = {
            f"eval_{suite}_success": rate_by_cluster(
                [one.outcome is Outcome.CORRECT for one in read(suite, step)], [one.key for one in read(suite, step)]
            )
            for suite in asked
        }
        spent = {"steps": step, "flops": 1e9 * step}
        records.append(Record(step, spent, {key: one.value for key, one in estimates.items()}, estimates))
    recipe = {"model_name_or_path": "tiny", "method": method, "data": {"environment": "game"}, "suites": asked}
    recipe |= {} if start is None else {"starts_from": start}
    metrics = () if mixed is None else tuple({"step": k, "mixed_groups": one} for k, one in enumerate(mixed))
    return RunData(
        folder=None, name=name, axes={"arm": name}, seed=seed, status=status, recipe={**recipe, "seed": seed}, plan={},
        metrics=metrics, records=tuple(records), result={"best_step": best_step}, study="made", answers=read,
    )  # fmt: skip


def sample(k, ok, level=None):
    facts = {} if level is None else {f"right_at_level_{one}": ok if one == level else None for one in (1, 2, 3, 4)}
    outcome = Outcome.CORRECT if ok else Outcome.WRONG
    return Sample(k, str(k), "all", "", (), outcome, "", 1 if ok else None, 0.0, facts)


def restored(after=0.6, mixed=(0.5, 0.1, 0.0, 0.0), **changes):
    """Fine-tuning peaks at 80 % and ends at 20 %; from step 40 (30 %) reinforcement comes to ``after``."""
    runs = []
    for seed in (0, 1, 2):
        runs.append(a_run("sft", {0: 0.5, 10: 0.8, 40: 0.3, 80: 0.2}, seed=seed))
        start = {"arm": "sft", "step": 40}
        runs.append(
            a_run(
                "rl from 40",
                {0: 0.3, 60: after},
                seed=seed,
                start=start,
                method={"name": "grpo"},
                mixed=mixed,
                **changes,
            )
        )
        runs.append(a_run("sft from 40", {0: 0.3, 500: 0.25}, seed=seed, start=start))
    (section,) = sections(runs)
    return section


def test_recovery_is_told_as_a_share_of_the_peak_and_of_the_loss():
    table = restoration.part(restored()).tables[0]
    told, more = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert told["from step"] == "40"
    assert told["of the peak"].startswith("75 %")  # 0.6 / 0.8
    assert told["of the loss"].startswith("60 %")  # (0.6 - 0.3) / (0.8 - 0.3)
    assert more["by"] == "fine-tuning as it was"
    assert more["reinforcement − it"].startswith("+35.0")
    assert "at step 10" in table.notes[0]
    assert "75 % [" in table.notes[0]  # 1 - 0.2 / 0.8


def test_no_recovery_of_what_was_not_lost():
    runs = [
        a_run(name, rates, seed=seed, start=start, method=method)
        for seed in (0, 1, 2)
        for name, rates, start, method in (
            ("sft", {0: 0.5, 10: 0.5, 40: 0.5}, None, "sft"),
            ("rl from 40", {0: 0.5, 60: 0.7}, {"arm": "sft", "step": 40}, {"name": "grpo"}),
        )
    ]
    (section,) = sections(runs)
    assert restoration.part(section).tables[0].rows[0][-2] == "–"
    with pytest.raises(NotRecorded, match="no loss"):
        Recovery(arm="arm", against="tuned", suite="ood", above=0.5).measure(Cell(section, ARMS, {}))


@pytest.mark.parametrize(("mixed", "out"), [((0.5, 0.0, 0.0, 0.0), False), ((0.1, 0.9, 0.9, 0.9), True)])
def test_out_of_range_looks_at_the_beginning(mixed, out):
    cell = restoration.part(restored(mixed=mixed)).tables[0].rows[0][-1]
    assert ("out of range" in cell) is out


def test_new_is_what_no_fine_tuned_checkpoint_solved():
    # 80 % of 20 problems were solved at the peak: 16 and 17 are new, 3 is not
    section = restored(new=(3, 16, 17))
    found = Anew(arm="arm", suite="ood_16", below=0.05).measure(Cell(section, ARMS, {}))
    assert found.estimate.value == pytest.approx(2 / 20)
    table = restoration.part(section).tables[2]
    assert table.rows[0][2].startswith("10.0 %")


def test_a_claim_of_recovery_takes_fiellers_interval():
    found = Recovery(arm="arm", against="tuned", suite="ood", of="loss", above=0.5).measure(Cell(restored(), ARMS, {}))
    assert found.estimate.value == pytest.approx(0.6)
    assert found.estimate.low < 0.6 < found.estimate.high
    assert found.seeds == 3


def test_fiellers_interval_is_the_delta_methods_where_the_denominator_is_sharp():
    rng = np.random.default_rng(3)
    easy, hard = rng.random(4000) < 0.8, rng.random(4000) < 0.4
    runs = [drawn_run("one", hard), drawn_run("two", easy)]
    (section,) = sections(runs)
    one, two = section.arms
    found = ratio([Term(one, "id", at(one, 1))], [Term(two, "id", at(two, 1))])
    p, q = hard.mean(), easy.mean()
    both = (hard & easy).mean() - p * q
    variance = (p * (1 - p) / q**2 + p**2 * q * (1 - q) / q**4 - 2 * p * both / q**3) / 4000
    assert found.value == pytest.approx(p / q)
    assert found.high - found.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.05)


def drawn_run(name, solved, levels=None):
    def read(suite, step):
        return tuple(sample(k, bool(ok), None if levels is None else int(levels[k])) for k, ok in enumerate(solved))

    estimate = rate_by_cluster([bool(ok) for ok in solved], [str(k) for k in range(len(solved))])
    record = Record(1, {"steps": 1}, {"eval_id_success": estimate.value}, {"eval_id_success": estimate})
    recipe = {"model_name_or_path": "tiny", "data": {"environment": "game"}, "suites": {"id": {"purpose": "id"}}}
    return RunData(
        folder=None, name=name, axes={"arm": name}, seed=0, status="finished", recipe=recipe, plan={}, metrics=(),
        records=(record,), result={}, study="made", answers=read,
    )  # fmt: skip


def test_the_trend_over_levels_is_the_planted_one():
    levels = np.arange(2000) % 4 + 1
    place = np.arange(2000) // 4 / 500
    other = place < 0.5
    first = place < 0.5 + 0.1 * (levels - 1)  # gains of 0, 10, 20 and 30 points
    (section,) = sections([drawn_run("first", first, levels), drawn_run("other", other, levels)])
    found = gains_by_level(*section.arms, "id")
    assert [round(one.value, 3) for one in found.gains.values()] == [0.0, 0.1, 0.2, 0.3]
    assert found.slope.value == pytest.approx(0.1)
    assert found.slope.low < 0.1 < found.slope.high
    told = Harder(arm="first", against="other", suite="id", above=0.05).measure(Cell(section, ARMS, {}))
    assert told.estimate == found.slope
    shown = difficulty.part(section).tables[0]
    assert shown.rows[0][-1].startswith("−10.0")  # of the second arm against the first


def test_no_levels_no_trend():
    (section,) = sections([drawn_run("first", np.ones(40)), drawn_run("other", np.ones(40))])
    assert difficulty.part(section) is None
    with pytest.raises(NotRecorded, match="no levels"):
        Harder(arm="first", against="other", suite="id", above=0).measure(Cell(section, ARMS, {}))


def test_a_stopped_run_counts_at_the_checkpoint_that_it_kept():
    plain = {0: {"id": 0.0, "ood": 0.0, "kept": 0.9}, 20: {"id": 0.8, "ood": 0.7, "kept": 0.5}, 40: 0.3}
    early = {0: {"id": 0.0, "ood": 0.0, "kept": 0.9}, 20: {"id": 0.8, "ood": 0.75, "kept": 0.5}, 40: 0.1}
    runs = [
        a_run(name, rates, seed=seed, status=status, best_step=best)
        for seed in (1,)
        for name, rates, status, best in (
            ("plain", plain, "finished", None),
            ("early", early, "stopped", 20),
            *((f"filler {k}", plain, "finished", None) for k in range(4)),
        )
    ]
    (section,) = sections(runs)
    rows = {row[0]: row for row in remedies.part(section).tables[0].rows}
    assert rows["early"][1] == "20"
    assert rows["early"][3].startswith("+80.0")  # id since the base
    assert rows["early"][4].startswith("+5.0")  # ood against the best moment of the first arm
    assert rows["early"][5].startswith("−40.0")
    assert rows["plain"][4].startswith("−40.0")
    assert next(iter(rows)) == "early"


def test_the_flops_of_what_an_arm_goes_on_from_are_its_own_too():
    plain = {0: 0.1, 20: 0.6, 40: 0.7}
    later = [a_run("later", {0: 0.6, 30: 0.9}, seed=seed, start={"arm": "plain", "step": 20}) for seed in range(3)]
    others = [a_run(name, plain, seed=seed) for name in ("plain", *"abcde") for seed in range(3)]
    (section,) = sections([*others, *later])
    rows = {row[0]: row for row in remedies.part(section).tables[0].rows}
    assert rows["plain"][2] == "4e+10"
    assert rows["later"][2] == "5e+10"
