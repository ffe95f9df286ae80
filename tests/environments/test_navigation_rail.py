from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from statistics import mean

import pytest

from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.geometry import Plane, distance
from holdfast.environments.navigation.rail import FROM_MILESTONE, Kind, Panoramas, rail
from holdfast.environments.navigation.route import Leg, Route
from holdfast.errors import UserError

PLANE = Plane((45.0, 7.0))
ROUTE = Route(
    "bent",
    "made",
    PLANE.origin,
    10,
    (
        Leg(0, 100.0, "Maple Bakery", "left", PLANE.place(0, 100)),
        Leg(90, 60.0, None, None, PLANE.place(60, 100)),
        Leg(180, 4.0, None, None, PLANE.place(60, 96)),
    ),
    "Owl Cafe",
    "right behind",
)


def test_the_rail_begins_at_the_start_meets_each_milestone_in_order_and_ends_at_the_destination() -> None:
    for index in range(100):
        route = deal("train", index, seed=0)
        points = rail(route, seed=index)
        assert points[0].kind is Kind.START
        assert [p.position for p in points if p.kind is not Kind.ROAD] == [
            route.start,
            *(leg.end for leg in route.legs),
        ]
        assert [p.leg for p in points if p.kind in (Kind.START, Kind.INTERSECTION)] == list(range(len(route.legs)))
        assert points[-1].kind is Kind.DESTINATION
        # A point of the road belongs to the leg whose turn was asked last.
        asked = -1
        for point in points:
            asked = point.leg if point.kind in (Kind.START, Kind.INTERSECTION) else asked
            assert point.leg == asked


def test_without_drops_each_leg_has_the_four_inner_fifths() -> None:
    points = [p for p in rail(ROUTE, seed=0, drop_rate=0.0) if p.kind is Kind.ROAD]
    assert [p.leg for p in points] == [0] * 4 + [1] * 4  # the third leg is shorter than 5 m
    along = [tuple(round(c, 3) for c in PLANE.position(p.position)) for p in points]
    assert along == [(0, 20), (0, 40), (0, 60), (0, 80), (12, 100), (24, 100), (36, 100), (48, 100)]


def test_points_near_a_milestone_are_left_out() -> None:
    # Fifths of 30 m lie at 6, 12, 18 and 24 m: the first and the last are within 8 m of an end.
    short = replace(ROUTE, legs=(replace(ROUTE.legs[0], landmark=None, side=None, end=PLANE.place(0, 30)),))
    along = [PLANE.position(p.position)[1] for p in rail(short, seed=0, drop_rate=0.0) if p.kind is Kind.ROAD]
    assert along == pytest.approx([12, 18])


def test_each_point_of_the_road_is_dropped_with_the_given_chance() -> None:
    for rate in (0.5, 0.8):
        kept = mean(sum(p.kind is Kind.ROAD for p in rail(ROUTE, seed=seed, drop_rate=rate)) for seed in range(2000))
        assert kept == pytest.approx(8 * (1 - rate), abs=0.15)
    for seed in range(20):
        assert not [p for p in rail(ROUTE, seed=seed, drop_rate=1.0) if p.kind is Kind.ROAD]
        assert not [p for p in rail(ROUTE, seed=seed, straight_line_length=0) if p.kind is Kind.ROAD]


def test_a_rail_is_a_pure_function_of_route_and_seed() -> None:
    assert rail(ROUTE, seed=1) == rail(ROUTE, seed=1)
    assert len({rail(ROUTE, seed=seed) for seed in range(50)}) > 20
    renamed = [rail(replace(ROUTE, name=f"{k}"), seed=1) for k in range(50)]
    assert len(set(renamed)) > 20


def test_a_usual_route_has_about_ten_points() -> None:
    sizes = [len(rail(deal("train", index, seed=0), seed=0)) for index in range(300)]
    assert 9 < mean(sizes) < 12
    assert sum(6 <= size <= 20 for size in sizes) > 0.9 * len(sizes)


def test_observations_are_the_published_texts() -> None:
    shown = Counter((p.kind, p.observation) for p in rail(ROUTE, seed=0, drop_rate=0.0))
    assert shown == {
        (Kind.START, "No landmarks nearby; "): 1,
        (Kind.ROAD, "No landmarks nearby; "): 8,
        (Kind.INTERSECTION, "Maple Bakery is on your left; You observe an intersection"): 1,
        (Kind.INTERSECTION, "No landmark nearby; You observe an intersection"): 1,
        (Kind.DESTINATION, "The destination Owl Cafe is on your right behind; "): 1,
    }


@pytest.mark.parametrize("origin", [(0.0, 0.0), (51.5, -0.1), (-68.0, 100.0)])
def test_the_nearest_panorama_is_that_of_brute_force(origin: tuple[float, float]) -> None:
    rng, plane = Random(0), Plane(origin)
    places = [plane.place(rng.uniform(-300, 300), rng.uniform(-300, 300)) for _ in range(400)]
    known, found = Panoramas(places), 0
    for _ in range(200):
        here = plane.place(rng.uniform(-320, 320), rng.uniform(-320, 320))
        best = min(places, key=lambda place: distance(here, place))
        near = known.nearest(here)
        assert near == (best if distance(here, best) <= 20 else None)
        found += near is not None
    assert 50 < found < 200


def test_points_move_to_panoramas_and_those_without_one_are_left_out() -> None:
    known = Panoramas([PLANE.place(3, 41), PLANE.place(0, 92), PLANE.place(36, 121), PLANE.place(12, 110)])
    points = [p for p in rail(ROUTE, seed=0, drop_rate=0.0, panoramas=known) if p.kind is Kind.ROAD]
    # Of leg 0: 20, 40 and 60 m move to the one at 41 m, 21 m being too far; 80 and 100 m to that at 92 m, 8 m from the
    # milestone. Of leg 1: 12 and 24 m move to the one at 12 m.
    moved = [tuple(round(c) for c in PLANE.position(p.position)) for p in points]
    assert moved == [(3, 41), (3, 41), (12, 110), (12, 110)]
    assert all(distance(p.position, ROUTE.legs[0].end) > FROM_MILESTONE for p in points)


def test_a_leg_of_five_meters_or_less_has_no_points_even_where_panoramas_lie_beside_it() -> None:
    beside = Panoramas([PLANE.place(75, 98)])
    assert not [p for p in rail(ROUTE, seed=0, drop_rate=0.0, panoramas=beside) if p.kind is Kind.ROAD and p.leg == 2]


@pytest.mark.parametrize("options", [{"drop_rate": 1.1}, {"drop_rate": float("nan")}, {"straight_line_length": -1}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be"):
        rail(ROUTE, seed=0, **options)  # type: ignore[arg-type]
