"""Compact records: what they keep, what they cost, and that they read like the runs they were made from."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import RunFolderError
from holdfast.records import Outcome
from holdfast.report import load_runs, table, write_records
from holdfast.report.compare import arms, duels, results
from holdfast.report.squeeze import index_of, indices, squeeze, unsqueeze


@pytest.fixture(scope="module")
def whole(study):
    return load_runs(study)


@pytest.fixture(scope="module")
def compact(whole, tmp_path_factory):
    return load_runs(write_records(whole, tmp_path_factory.mktemp("compact")))


def test_compact_records_give_every_number_of_the_table_that_the_run_folders_give(whole, compact):
    assert table(compact) == table(whole)


def test_paired_tests_are_made_again_exactly(whole, compact):
    assert [row.paired for row in results(arms(compact))] == [row.paired for row in results(arms(whole))]
    assert [row.paired for row in duels(arms(compact))] == [row.paired for row in duels(arms(whole))]


def test_readings_spent_recipe_and_labels_come_back(whole, compact):
    for one, again in zip(whole, compact, strict=True):
        assert [dict(r.readings) for r in again.records] == [dict(r.readings) for r in one.records]
        assert [dict(r.spent) for r in again.records] == [dict(r.spent) for r in one.records]
        assert (again.recipe, again.axes, again.seed, again.plan) == (one.recipe, one.axes, one.seed, one.plan)
        assert (again.result, again.notes, again.suites) == (one.result, one.notes, one.suites)


def test_facts_are_kept_at_the_first_and_last_moment_and_texts_never(whole, compact):
    one, again = whole[0], compact[0]
    for step in (0, 160):
        facts = [{**sample.facts} for sample in again.samples("ood", step)]
        told = [sample.facts["right_under_training_rule"] for sample in one.samples("ood", step)]
        assert [fact["right_under_training_rule"] for fact in facts] == told
    assert again.samples("ood", 20)[0].facts == {}
    assert {sample.prompt for sample in again.samples("ood", 160)} == {""}


def test_what_problems_of_several_steps_tell_comes_back(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=30, during=10)
    path = folder / "samples" / "ood" / "160.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"index": number // 3, "step": number % 3, "counts": {"per_step": [number % 3, 3]}}
        row |= {"confusion": ["turn left", "forward" if number % 2 else "turn left"]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = load_runs(folder)
    (again,) = load_runs(write_records([one], tmp_path / "compact"))
    told, kept = one.samples("ood", 160), again.samples("ood", 160)
    for name in ("index", "step", "key", "outcome", "solved_at", "counts", "confusion"):
        assert [getattr(sample, name) for sample in kept] == [getattr(sample, name) for sample in told], name


def test_a_study_of_eight_runs_takes_less_than_200_kilobytes(whole, tmp_path):
    folder = write_records(whole, tmp_path / "out")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 200_000


def test_the_same_runs_give_the_same_bytes(whole, tmp_path):
    one, two = (write_records(whole, tmp_path / name) for name in ("a", "b"))
    assert {f.name: f.read_bytes() for f in one.iterdir()} == {f.name: f.read_bytes() for f in two.iterdir()}


def test_a_run_that_has_not_ended_is_not_exported(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=10, during=10)
    (folder / "result.json").unlink()
    with pytest.raises(RunFolderError, match="full, 1e-3, seed 0: unfinished"):
        write_records(load_runs(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_records_are_refused_in_one_line(whole, tmp_path):
    folder = write_records(whole[:1], tmp_path / "out")
    rows = (folder / "records.jsonl").read_text().splitlines()
    (folder / "records.jsonl").write_text(rows[0].replace('"columns":0', '"columns":7') + "\n")
    with pytest.raises(RunFolderError, match="do not fit together"):
        load_runs(folder)
    (folder / "study.json").write_text("{}")
    with pytest.raises(RunFolderError, match="is not of the format"):
        load_runs(folder)


@pytest.mark.parametrize("numbers", [[], [0, 1, 2], [255] * 9, [256, 3]])
def test_squeezed_columns_and_indices_come_back(numbers):
    assert unsqueeze(squeeze(numbers)) == numbers
    assert indices(index_of(numbers)) == numbers


def test_an_outcome_survives_whatever_it_is(compact):
    found = {sample.outcome for run in compact for sample in run.samples("ood", 160)}
    assert found == set(Outcome)
