"""What tables, warnings and the page of a spectral diagnosis say of readings that are known."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from holdfast.records import Estimate
from holdfast.report import spectral_figures, spectral_tables
from holdfast.report.spectral_page import write
from holdfast.report.spectral_profile import Checkpoint, Diagnosis, Likeness, Success, middle, pooled_undone, relative
from holdfast.report.spectral_readings import (
    Against,
    Angles,
    EnergySplit,
    MatrixReading,
    OwnSpectrum,
    Rotation,
    Unchanged,
    ValueShift,
)


def reading(name, *, norm=0.1, rms=2.0, error=None, of_chance=0.05, layer=0, count=4, size=20, rounded=0.1, **more):
    side = Angles(2 * rms, rms, of_chance, count, size, error, error, error)
    told = MatrixReading(
        name=name, role="mlp", layer=layer, in_block=True, rows=size, columns=size,
        road="exact" if error is None else "first_order", count=count, base_norm=1.0, norm=norm,
        top=Rotation(side, side), bottom=Rotation(side, side), values=ValueShift(0.01, 0.001, 0.008, error, error),
        energy=EnergySplit(0.05, 0.08, 0.2, 0.2, 0.52, count, size, size),
        spectrum=OwnSpectrum(0.05, 0.1, 4.0, 9.0, 0.01, 3, size, True), unchanged=Unchanged(rounded, rounded, 0.1, 0.2),
    )  # fmt: skip
    return replace(told, **more)


def diagnosis(*matrices, names=("step 1",), **more):
    checkpoints = tuple(Checkpoint(name, 1 + n, matrices, 9, 2, 1.0, 4.0, "ab") for n, name in enumerate(names))
    return Diagnosis("base", "cd", checkpoints, 0.2, "0", **more)


def test_medians_leave_out_what_did_not_move():
    told = diagnosis(reading("a", norm=0.1), reading("b", norm=0.3), reading("c", norm=0.0))
    assert middle(told.last.moved, relative) == pytest.approx(0.2)
    assert spectral_tables.by_role(told.last).rows[0][:4] == ("mlp", "3", "2", "0.2")
    assert told.last.relative == 0.5
    assert middle([], relative) is None


def test_an_error_is_told_with_its_number_and_exact_ones_have_none():
    rows = spectral_tables.most_moved(diagnosis(reading("a", error=0.3), reading("b", norm=0.2)).last).rows
    assert [row[0] for row in rows] == ["b", "a"]
    assert rows[1][2] == "2 ± 0.3 / 4"
    assert rows[0][2] == "2 / 4"


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ({"count": 15}, "angles of 0 by force"),
        ({"of_chance": 0.95}, "as far as chance"),
        ({"rounded": 0.7}, "rounded away"),
        ({"error": 0.9}, "first order is rough"),
    ],
)
def test_what_a_reader_must_know_is_warned_of(matrix, words):
    assert spectral_tables.warnings(diagnosis(reading("a"))) == []
    (line,) = spectral_tables.warnings(diagnosis(reading("a", **matrix)))
    assert re.search(words, line)


def test_two_updates_are_pooled_over_matrices_by_their_energies():
    one = Against(None, None, None, 4, None, energy=4.0, other_energy=1.0, inner=1.0)
    two = Against(None, None, None, 4, None, energy=1.0, other_energy=1.0, inner=-0.5)
    matrices = [reading("a", against=one), reading("b", against=two)]
    cosine, undone = pooled_undone(matrices)
    assert cosine == pytest.approx(0.5 / 10**0.5)
    assert undone == pytest.approx(1 - 0.5 / 5)
    assert spectral_tables.against(diagnosis(*matrices, other="b")).rows[-1][:4] == ("step 1", "all", "0.158", "90.0 %")


def test_kinds_of_matrices_are_their_names_without_numbers():
    names = ["h.0.attn.c_proj.weight", "h.0.mlp.c_proj.weight", "h.0.mlp.experts.0.w1.weight", "h.0.mlp.experts[1]"]
    told = Checkpoint("x", None, tuple(reading(name) for name in names), 4, 0, 1.0, 1.0, "ab")
    assert [label for label, _ in spectral_figures.kinds_of(told)] == ["attn.c_proj", "mlp.c_proj", "w1", "experts"]


def test_the_page_holds_everything_and_trusts_no_name(tmp_path):
    estimate = Estimate(0.9, 0.8, 1.0, 10, 10, "wilson")
    told = diagnosis(
        reading("<b>a</b>"), reading("b", layer=1, error=0.1), names=("step 1", "step 2"),
        success=(Success("ood", "ood", 1, estimate), Success("ood", "ood", 2, estimate)),
        hidden=tuple(Likeness("step 2", "ood", layer, estimate, 0.9) for layer in range(2)),
    )  # fmt: skip
    page = write(told, tmp_path / "spectral.html", title="T").read_text()
    assert "&lt;b&gt;a" in page
    assert "<b>a" not in page
    for words in ("90.0 % [80.0, 100.0]", "What this does not show", "after block", "Provenance"):
        assert words in page
    assert {path.stem for path in (tmp_path / "spectral-figures").iterdir()} == {"maps", "trajectory", "hidden"}
    assert "perturbation" in page
    assert spectral_figures.trajectory(diagnosis(reading("a"))) is None


def test_a_tower_is_one_row_and_an_embedding_its_own():
    tower = [reading(f"v.{n}", in_block=False, role="vision") for n in range(7)]
    told = diagnosis(reading("a"), *tower, reading("embed", in_block=False, role="embedding"))
    assert [row[:3] for row in spectral_tables.apart(told.last).rows] == [
        ("vision: all 7", "7", "7"), ("embed", "1", "1"),
    ]  # fmt: skip
