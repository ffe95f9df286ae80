"""What training does to interactions, on a study's page: from readings alone, each number checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy import stats

import made_study
from holdfast.records import Estimate, Record
from holdfast.report import words
from holdfast.report.groups import sections
from holdfast.report.sections import PARTS, interactions

NOISE = {0: 0.0, 30: 0.2, 70: 0.4, 140: 0.4, 200: 0.4, 400: 0.4}
NEWS = {0: 0.0, 30: 0.05, 70: 0.1, 140: 0.1, 200: 0.1, 400: 0.1}
OVERFITTED = {0: 0.0, 30: 0.0, 70: 0.1, 140: 0.2, 200: 0.4, 400: 0.8}


def run(seed, *, models=True, templates=True, scale=1.0):
    made = made_study.run({"task": "points", "module": "full"}, seed, n=40)
    records = tuple(recorded(one, told(one.step, models, templates, scale)) for one in made.records)
    return replace(made, records=records)


def recorded(one, found):
    """The record with readings, of which the boundary and the ratio have intervals, as a probe tells them."""
    readings = {**one.readings, **found}
    ratio = found["interactions_reliable_ratio"] or 0.0
    estimates = {
        name: Estimate(value, low, high, 16, 16, "")
        for name, low, high in (
            ("interactions_boundary", 30.0, 140.0),
            *((f"interactions_{by}reliable_ratio", 0.8 * ratio, 1.25 * ratio) for by in ("", "stable_")),
        )
        if (value := readings.get(name)) is not None
    }
    return Record(one.step, {**one.spent, "examples": 32 * one.step}, readings, {**one.estimates, **estimates})


def told(step, models, templates, scale):
    found = {
        "balance": NOISE[step] - OVERFITTED[step], "boundary": float(min(step, 70)),
        "removed_unreliable": NOISE[step], "emerged_reliable": scale * NEWS[step],
        "emerged_unreliable": OVERFITTED[step], "turnover": 0.5,
        "reliable_ratio": scale * NEWS[step] / NOISE[step] if step else None,
    }  # fmt: skip
    if templates:
        found |= {f"stable_{name}": found[name] for name in ("boundary", "reliable_ratio", "removed_unreliable")}
        found |= {"stable_preserved": 0.9, "stable_preserved_chance": 0.2}
    if models:
        found |= {"gamma_preserved": 0.6, "gamma_emerged": 0.1, "gamma_emerged_chance": 0.05}
    return {f"interactions_{name}": value for name, value in found.items()}


def tables(runs):
    part = PARTS["interactions"](sections(runs)[0])
    assert part is not None
    return part, part.tables


def column(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def test_where_denoising_ends_is_told_by_seed_in_steps_in_examples_and_as_a_share():
    _, (stages, _, _) = tables([run(seed) for seed in (0, 1, 2)])
    assert column(stages, "reliable by") == ["other models", "templates"]
    assert column(stages, "denoising ends at step") == ["70, 70, 70"] * 2
    assert column(stages, "other prompts")[0] == "30 to 140"
    assert column(stages, "in examples")[0] == "2240, 2240, 2240"
    assert column(stages, "share of the run")[0] == "17.5 %"
    assert column(stages, "removed by then")[0] == "100.0 %, 100.0 %, 100.0 %"


def test_the_ratio_is_a_geometric_mean_with_its_interval_and_test():
    scales = (1.0, 2.0, 4.0)
    _, (_, masses, _) = tables([run(seed, scale=scale) for seed, scale in enumerate(scales)])
    end = masses.rows[column(masses, "moment").index("end")]
    assert end[3] == "40.0 %"
    # 0.25, 0.5 and 1 lie ln 2 apart; other prompts of one seed give 0.8 to 1.25 times as much.
    seeds, prompts = math.log(2) ** 2 / 3, (math.log(1.25) / 1.959964) ** 2
    df = (seeds + prompts) ** 2 / (seeds**2 / 2 + prompts**2 / 15)
    reach = math.exp(stats.t.ppf(0.975, df) * math.sqrt(seeds + prompts))
    p = 2 * stats.t.sf(math.log(2) / math.sqrt(seeds + prompts), df)
    assert end[-1] == f"0.5\n[{0.5 / reach:.2g}, {0.5 * reach:.2g}], p {words.p_value(p)}"


def test_chance_stands_beside_what_was_found_and_what_was_not_asked_is_left_out():
    _, (stages, _, sets) = tables([run(seed, models=False) for seed in (0, 1)])
    assert column(stages, "reliable by") == ["templates"] * len(stages.rows)
    assert set(column(sets, "γ emerged")) == {words.UNKNOWN}
    assert set(column(sets, "stable preserved")) == {"90.0 % (20.0 %)"}


def test_one_seed_has_intervals_over_prompts_alone_where_they_were_recorded_and_the_figure_draws_every_arm():
    part, (_, masses, _) = tables([run(0)])
    assert [["[" in cell for cell in row[3:]] for row in masses.rows] == [[False] * 4 + [True]] * len(masses.rows)
    figure = part.drawings[0].draw()
    assert len(figure.axes) == 2


def test_runs_without_the_probe_have_no_such_part():
    plain = [made_study.run({"task": "points", "module": "full"}, seed) for seed in (0, 1)]
    assert interactions.part(sections(plain)[0]) is None


@pytest.mark.parametrize("label", ["sizes", None])
def test_a_label_base_puts_several_bases_into_one_section(label):
    runs = []
    for size in ("0.3", "2"):
        made = run(0)
        axes = {"task": "points", "size": size, **({"base": label} if label else {})}
        runs.append(replace(made, axes=axes, recipe={**made.recipe, "model_name_or_path": f"size-{size}"}))
    assert len(sections(runs)) == (1 if label else 2)
