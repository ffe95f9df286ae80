from __future__ import annotations

from itertools import product
from math import isclose

import pytest

from holdfast.environments.navigation.geometry import (
    COMPASS,
    SIDES,
    TURNS,
    TURNS_8,
    Plane,
    bearing,
    between,
    clock,
    compass,
    difference,
    distance,
    plane_heading,
    side,
    turn,
    turn_8,
)

HEADINGS = range(360)


def nearest(angle: int, step: int) -> set[int]:
    """Numbers of the multiples of ``step`` that are nearest to ``angle`` on the circle, by brute force."""
    apart = {k: min((angle - step * k) % 360, (step * k - angle) % 360) for k in range(360 // step)}
    return {k for k, far in apart.items() if far == min(apart.values())}


def test_a_compass_word_is_the_nearest_of_eight_and_never_a_matter_of_taste() -> None:
    for heading in range(-360, 720):
        assert [COMPASS[k] for k in nearest(heading % 360, 45)] == [compass(heading)]


def test_sides_turns_and_hours_are_the_nearest_of_their_kind() -> None:
    for before, apart in product((0, 1, 45, 200, 359), HEADINGS):
        after = (before + apart) % 360
        assert SIDES.index(side(after, before)) in nearest(apart, 45)
        assert TURNS_8.index(turn_8(before, after)) in nearest(apart, 45)
        assert clock(before, after) % 12 in nearest(apart, 30)
        assert 1 <= clock(before, after) <= 12


def test_with_wrap_the_side_is_that_of_the_shorter_way() -> None:
    for before, after in product(HEADINGS, range(0, 360, 7)):
        apart = difference(before, after)
        assert -180 < apart <= 180
        assert (before + apart - after) % 360 == 0
        word = turn(before, after, wrapped=True)
        assert word in TURNS
        assert word.endswith("right") == (apart > 0)
        assert word.startswith("slightly") == (abs(apart) <= 45)


@pytest.mark.parametrize(("angles", "share"), [((90,), 0.25), ((60, 90, 135), (60 + 90 + 135) / 3 / 360)])
def test_without_wrap_a_quarter_of_right_angles_gets_the_wrong_side(angles: tuple[int, ...], share: float) -> None:
    # A turn by a is misnamed where it crosses north, which a of 360 headings do: a / 360, 25 % at a right angle and
    # 26 % over turns of 60, 90 and 135 degrees.
    turns = [(h, (h + sign * angle) % 360) for h, sign, angle in product(HEADINGS, (-1, 1), angles)]
    wrong = sum(turn(*pair, wrapped=False).split()[-1] != turn(*pair, wrapped=True).split()[-1] for pair in turns)
    assert wrong / len(turns) == pytest.approx(share)


@pytest.mark.parametrize("apart", [-46, -45, -1, 0, 1, 45, 46])
def test_the_published_words_change_at_45_and_at_0(apart: int) -> None:
    words = {-46: "left", -45: "slightly left", -1: "slightly left", 0: "slightly left"}
    words |= {1: "slightly right", 45: "slightly right", 46: "right"}
    assert turn(100, 100 + apart, wrapped=False) == turn(100, 100 + apart, wrapped=True) == words[apart]


@pytest.mark.parametrize("origin", [(0.0, 0.0), (52.5, 13.4), (-33.9, 179.9999), (64.1, -179.9999)])
def test_plane_and_sphere_agree_within_a_city(origin: tuple[float, float]) -> None:
    plane = Plane(origin)
    for east, north in product((-700, 0, 300), (-650, 0, 400)):
        place = plane.place(east, north)
        assert plane.position(place) == pytest.approx((east, north), abs=1e-6)
        meters = (east**2 + north**2) ** 0.5
        assert isclose(distance(origin, place), meters, rel_tol=1e-3, abs_tol=1e-6)
        if meters:
            assert abs(difference(bearing(origin, place), plane_heading(east, north))) < 0.1
            assert distance(origin, between(origin, place, 0.25)) == pytest.approx(meters / 4, rel=1e-3)
