"""Numbers and foreign text as a reader sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.report import words


@given(st.text(st.characters()))
def test_visible_text_can_be_written_and_hides_nothing(text):
    shown = words.visible(text)
    shown.encode("utf-8")
    assert all(character.isprintable() or character in "\n\t" or character.isspace() for character in shown)
    assert not set(shown) & set("\x00\x1b\u202e\u2066\u200b\ufeff")


def test_visible_writes_lone_surrogates_controls_and_marks_of_direction_out():
    assert words.visible("a\ud800b\x07c\u202ed") == "a\\ud800b\\x07c\\u202ed"
    assert words.visible("line\nnext\ttab, ü, 中, 24 × 3") == "line\nnext\ttab, ü, 中, 24 × 3"


def test_cutting_says_how_much_is_missing():
    assert words.visible("x" * 2_000, 10) == "x" * 10 + "… (+1,990 characters)"


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (words.percent, 0.975, "97.5 %"),
        (words.percent, None, "–"),
        (words.points, -0.49, "−49.0"),
        (words.points, -0.0001, "0.0"),
        (words.p_value, 0.00004, "< 0.001"),
        (words.p_value, 0.0123, "0.012"),
        (words.p_value, 1.0, "1.00"),
        (words.power_of_ten, 9.996e12, "1 × 10¹³"),
        (words.power_of_ten, 0.0, "0"),
        (words.power_of_ten, 3.2e-5, "3.2 × 10⁻⁵"),
        (words.power_of_ten, None, "–"),
        (words.amount, 2_412_000, "2.41 M"),
        (words.amount, 320, "320"),
        (words.seconds, 192.2, "3 min 12 s"),
        (words.seconds, 7_300.0, "2 h 1 min"),
        (words.seconds, 4.25, "4.25 s"),
    ],
)
def test_a_number_reads_as(function, value, text):
    assert function(value) == text


def test_an_unknown_end_makes_the_interval_unknown_and_never_0():
    assert words.interval(None, 0.5) == words.signed_interval(0.1, None) == "–"
