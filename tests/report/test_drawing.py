"""Figures: colors, labels, and that drawing leaves no trace."""

from __future__ import annotations

import itertools

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.report import figures, load_runs
from holdfast.report.compare import arms
from holdfast.report.drawing import COLORS, look, spread, style, to_svg


def test_28_arms_look_different():
    assert len({look(number) for number in range(28)}) == 28


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_color_stands_out_from_white():
    # WCAG asks 3:1 of graphics; orange and sky blue of the palette reach 2.2, so they come after five others
    contrast = [1.05 / (luminance(color) + 0.05) for color in COLORS]
    assert min(contrast) > 2
    assert all(value > 2.9 for value in contrast[:4])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted))
def test_labels_are_apart_in_order_and_below_the_top(wanted):
    placed = spread(wanted, 0.08)
    assert all(b - a >= 0.08 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] <= 1 + 1e-9


@given(st.lists(st.floats(0.1, 0.9), min_size=1, max_size=6, unique_by=lambda x: round(x * 4)).map(sorted))
def test_labels_with_room_stay_where_they_are(wanted):
    if all(b - a >= 0.05 for a, b in itertools.pairwise(wanted)):
        assert spread(wanted, 0.05) == pytest.approx(wanted)


def test_drawing_leaves_the_users_settings_alone():
    before = dict(matplotlib.rcParams)
    matplotlib.rcParams["font.size"] = 31
    try:
        with style():
            assert matplotlib.rcParams["font.size"] == 9
        assert matplotlib.rcParams["font.size"] == 31
    finally:
        matplotlib.rcParams["font.size"] = before["font.size"]


def test_the_map_says_how_much_each_arm_trained(study):
    figure = figures.trained(arms(load_runs(study)))
    titles = [panel.get_title(loc="left") for panel in figure.axes if panel.get_title(loc="left")]
    assert len(titles) == 3  # full at two rates has one map
    assert titles[0].startswith("full, 1e-3; full, 2e-4\n2.3 M of 2.3 M (100.0 %)")
    assert "(35.6 %)" in titles[1]


def test_the_end_of_each_curve_is_labelled_with_its_arm(study):
    groups = arms(load_runs(study))
    svg = to_svg(figures.success(groups, against="steps"), prefix="a-", title="success")
    for arm in groups:
        assert svg.count(f">{arm.name}<") == 3


def test_curves_run_through_the_recorded_rates(study):
    groups = arms(load_runs(study))
    panel = figures.success(groups, against="steps").axes[1]
    thick = [line for line in panel.lines if line.get_linewidth() > 1]
    ends = [line.get_ydata()[-1] for line in thick]
    own = [sum(run.records[-1].readings["eval_ood_success"] for run in arm.runs) / len(arm.runs) for arm in groups]
    assert ends == pytest.approx(own)
    assert list(thick[0].get_xdata()) == [0, 2, 5, 10, 20, 40, 80, 160]
