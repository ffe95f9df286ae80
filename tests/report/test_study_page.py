"""The page of a study: its numbers, what it chooses, what it says of the paper; committed pages can be made again."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from markupsafe import Markup

import made_study
from holdfast.errors import RunFolderError
from holdfast.report import load_runs, write, write_records
from holdfast.report.choosing import choose
from holdfast.report.claims import evidence, judge, read_claims
from holdfast.report.contrasts import mean_reading
from holdfast.report.groups import sections
from holdfast.report.reaching import spent_to
from holdfast.report.sections import best, confusion, costs, levels, memorization, paper, rates, replies, stability
from holdfast.report.study_page import render
from holdfast.report.unrest import unrest

ROOT = Path(__file__).parent.parent.parent
RESULTS = sorted((ROOT / "docs" / "results").glob("*/report.html"))


def left_out(name, drawing):
    return Markup(f"[{html.escape(name)}]")


def without_pictures(text):
    return re.sub(r"<svg.*?aria-label.*?</svg>|\[[a-z0-9-]+\](?=<figcaption)", "", text, flags=re.DOTALL)


def text_of(page):
    return html.unescape(re.sub(r"<[^>]*>", "\n", page))


@pytest.fixture(scope="module")
def runs():
    return made_study.figure1(seeds=(0, 1), n=24)


@pytest.fixture(scope="module")
def points(runs):
    return sections(runs)[0]


@pytest.fixture(scope="module")
def rate_section():
    return sections(made_study.figure3(seeds=(0, 1), n=60))[0]


@pytest.fixture(scope="module")
def page(runs):
    claims = read_claims(ROOT / "docs" / "claims.yaml")
    return render(runs, left_out, judged=judge(claims, {"figure1": runs}))


def test_a_study_has_a_section_for_each_task_and_each_says_where_it_comes_from(page):
    assert re.findall(r'<h2 id="([^"]+)">', page) == ["claims", "points-tiny", "navigation-tiny", "verdicts"]
    told = text_of(page)
    for words in (
        "The numbers of this study are made up",
        "2 seeds: where seeds differ much",
        "Recipe of points, tiny",
    ):
        assert words in told
    assert "nan" not in told.lower().split()
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_ends_are_the_means_over_seeds(page, points):
    arm = points.arms[1]
    assert arm.name == "flops, attention"
    for suite in ("seen", "id", "ood", "unseen"):
        mean = sum(run.records[-1].readings[f"eval_{suite}_success"] for run in arm.runs) / 2
        assert re.search(rf'<td class="l short">flops, attention</td>.*?{100 * mean:.1f} %', page, re.DOTALL)


def test_suites_that_choosing_reads_are_in_no_table(page):
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert [head for head in heads if "validation" in head] == []


def test_every_module_is_chosen_by_three_rules_beside_the_papers_number_and_an_empty_place(points):
    (table,) = best.part(points).tables
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["module"] for row in rows] == ["full", "attention", "mlp", "SFT + RL"] * 3
    assert len({row["selected by"] for row in rows}) == 3
    assert [row["paper, OOD"] for row in rows[:4]] == ["17.95 %", "19.23 %", "16.79 %", "15.00 %"]
    assert [rows[3][name] for name in ("arm", "ood")] == ["not run yet", "–"]


def test_the_oracle_takes_the_best_ood_moment_and_validation_never_reads_it(points):
    arms = [arm for arm in points.arms if arm.name.endswith("full")]
    found = {by: choose(arms, by=by, known="validation", asked="ood") for by in ("final", "id", "ood")}

    def reading(chosen, suite):
        return mean_reading(chosen.arm, f"eval_{suite}_success", chosen.step)

    for suite, by in (("ood", "ood"), ("validation", "id")):
        every = [mean_reading(arm, f"eval_{suite}_success", r.step) for arm in arms for r in arm.runs[0].records[1:]]
        assert reading(found[by], suite) == max(every)
    assert found["final"].step == found["final"].arm.runs[0].records[-1].step
    blind = [
        replace(run, records=tuple(without(r, "eval_ood") for r in run.records)) for arm in arms for run in arm.runs
    ]
    again = choose(sections(blind)[0].arms, by="id", known="validation", asked="ood")
    assert (again.step, again.arm.runs[0].name) == (found["id"].step, found["id"].arm.runs[0].name)


def without(record, start):
    return replace(record, readings={k: v for k, v in record.readings.items() if not k.startswith(start)})


def test_rates_are_told_as_fractions_of_the_smallest_that_collapses(rate_section):
    lines = rates.rate_lines(rate_section)
    assert [line.name for line in lines] == ["float32", "stored bfloat16"]
    assert [rates.rate_of(arm) for arm in lines[0].arms] == [3e-5, 3e-4, 1e-3, 4e-3]
    assert rates.collapsing(lines[0], "ood") == 1e-3
    table = rates.part(rate_section).tables[0]
    assert [row[1] for row in table.rows] == ["0.03", "0.3", "1", "4"]
    assert [row[2] for row in table.rows] == ["0.0009", "0.009", "0.03", "0.12"]


def test_costs_are_those_of_the_records(points):
    (table,) = costs.part(points).tables
    row = dict(zip(table.columns, table.rows[1], strict=True))
    assert (row["trainable"], row["of all"], row["steps"]) == ("614 k", "28.3 %", "520")
    assert (row["FLOPs, exact"], row["planned"], row["tokens/s"]) == ("2.44 × 10¹³", "1.010", "9 k")


def test_a_level_that_was_never_reached_is_never(points, rate_section):
    arm = points.arms[0]
    steps = [record.step for record in arm.runs[0].records]
    found = spent_to(arm, "seen", 0.5, of="steps")
    assert all(steps[0] < value < steps[-1] for value in found.values())
    assert spent_to(arm, "ood", 1.0, of="steps") == {0: None, 1: None}
    assert spent_to(arm, "ood", 0.0, of="flops") == {0: 0.0, 1: 0.0}
    cells = [cell for table in levels.part(rate_section).tables for row in table.rows for cell in row]
    assert "never" in cells


def test_unrest_is_the_mean_step_between_late_moments(points):
    arm = points.arms[0]
    for seed, told in unrest(arm, "ood").items():
        values = [r.readings["eval_ood_success"] for r in arm.runs[seed].records][-3:]
        assert told == pytest.approx((abs(values[1] - values[0]) + abs(values[2] - values[1])) / 2)
    assert stability.part(points) is not None


def test_memorization_tells_the_gap_and_the_trained_rule_at_work(points):
    (table,) = memorization.part(points).tables
    assert table.columns[1] == "seen − id, points"
    assert any("right under the training rule" in head for head in table.columns)
    assert not any(head.startswith("seen (id)") for head in table.columns)
    assert table.rows[0][0] == "before training"


def test_confusion_is_counted_where_answers_have_classes(runs, points):
    assert confusion.part(points) is None
    (table,) = confusion.part(sections(runs)[1]).tables
    assert {row[0] for row in table.rows} == {"id", "ood"}
    assert {row[2] for row in table.rows} == {"24", "48"}  # before training once, at the end both seeds


def test_rates_within_episodes_are_pooled_over_their_trials(runs):
    section = sections(runs)[1]
    table = next(table for table in replies.part(section).tables if table.columns[0] == "ood_routes")
    assert table.columns[1:] == ("per step",)
    arm = section.arms[0]
    counts = [
        sample.counts["per_step"] for run in arm.runs for sample in run.samples("ood_routes", run.records[-1].step)
    ]
    pooled = sum(hits for hits, _ in counts) / sum(trials for _, trials in counts)
    assert table.rows[1][1].startswith(f"{100 * pooled:.1f} %\n[")


def test_the_papers_words_stand_beside_the_figure_they_are_about(points, rate_section):
    said = paper.ranges(points)
    assert {(one.purpose, one.low, one.near) for one in said} == {
        ("id", None, 100), ("ood", None, None), ("ood", 10, None)
    }  # fmt: skip
    assert {one.rate for one in paper.ranges(rate_section)} == {"1e-6", "1e-7", "1e-8"}
    elsewhere = [replace(run, study="mine") for run in points.runs]
    assert paper.ranges(sections(elsewhere)[0]) == []


def test_every_statement_of_a_paper_has_its_words_and_at_most_one_kind_of_number():
    file = yaml.safe_load((ROOT / "src/holdfast/report/paper_figures.yaml").read_text())
    for one in [row for told in file.values() for row in told["ranges"]]:
        known = {"study", "task", "purpose", "arm", "rate", "low", "high", "near", "words", "where"}
        assert set(one) <= known, one  # a comma in unquoted words makes a key of its own
        assert one["words"], one
        assert one["where"], one
        assert ("arm" in one) != ("rate" in one), one
        assert not ("near" in one and ("low" in one or "high" in one)), one


def test_the_page_with_its_figures_holds_the_same_words_as_the_one_without(tmp_path):
    runs = [run for run in made_study.figure1(seeds=(0,), n=12) if run.axes["task"] == "navigation"][:2]
    kept = load_runs(write_records(runs, tmp_path / "figure1"))
    page = write(kept, tmp_path / "out")
    assert without_pictures(page.read_text()) == without_pictures(render(kept, left_out))
    figures = sorted(file.stem for file in (tmp_path / "out" / "report-figures").iterdir())
    names = ("budgets", "confusion-id", "confusion-ood", "frontier", "memorization", "steps")
    assert figures == [f"navigation-tiny-{name}" for name in names]
    assert page.read_text().count("<svg") == len(figures)


def test_names_from_a_study_stay_text():
    name = "<script>alert(1)</script> {{7*7}} $x^2$ \u202e"
    hostile = [
        replace(run, axes={**run.axes, "module": name + run.axes["module"]}) for run in made_study.figure1((0,), n=6)
    ]
    page = render(hostile, left_out, title=name)
    assert "<script" not in page
    assert "{{7*7}}" in page
    assert "\u202e" not in page


def test_runs_without_records_are_named_and_no_records_at_all_are_refused(runs):
    broken = replace(runs[0], records=(), status="failed", name="broken")
    assert "broken, seed 0: failed; it is left out." in text_of(render([broken, *runs[1:]], left_out))
    with pytest.raises(RunFolderError, match="none has recorded anything"):
        render([broken], left_out)


@pytest.mark.parametrize("committed", RESULTS, ids=lambda path: path.parent.name)
def test_a_committed_page_is_what_its_records_give(committed):
    claims = read_claims(ROOT / "docs" / "claims.yaml")
    folder = committed.parent
    decided = folder.name in {name for claim in claims.claims for name in claim.evidence}
    judged = judge(claims, evidence([folder], claims)) if decided else []
    again = render(load_runs(folder), left_out, judged=judged)
    assert without_pictures(committed.read_text()) == without_pictures(again), f"holdfast report {folder}"
