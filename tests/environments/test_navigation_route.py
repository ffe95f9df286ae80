from __future__ import annotations

import json
from dataclasses import replace

import pytest

from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.route import Leg, Route, from_json, place_of, to_json
from holdfast.errors import DataError

END = (10.0, 20.0)
ROUTE = Route(
    "one",
    "made",
    (10.0, 20.001),
    300,
    (Leg(90, 72.0, "Maple Bakery", "left front", END), Leg(180, 30.5, None, None, (9.9, 20.0))),
    "Old Owl Cafe",
    "right",
)


def test_a_route_survives_json() -> None:
    for route in (ROUTE, *(deal("train", index, seed=3) for index in range(50))):
        assert from_json(json.loads(json.dumps(to_json(route)))) == route


def test_the_heading_before_a_turn_is_that_of_the_leg_before() -> None:
    assert [ROUTE.heading_before(leg) for leg in (0, 1)] == [300, 90]
    assert [ROUTE.beginning(leg) for leg in (0, 1)] == [ROUTE.start, END]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"legs": ()}, "has no legs"),
        ({"legs": ROUTE.legs[:1]}, "the last leg announces the landmark 'Maple Bakery'"),
        ({"init_heading": 360}, "init_heading is 360"),
        ({"init_heading": 1.0}, "init_heading is 1.0"),
        ({"destination": " "}, "destination is ' '"),
        ({"destination": "a\nb"}, "one line of text"),
        ({"destination_side": "east"}, "must be one of: front, right front"),
        ({"name": 3}, "name is 3"),
    ],
)
def test_an_impossible_route_is_refused_with_its_value(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(ROUTE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"heading": -1}, "heading is -1"),
        ({"distance": float("nan")}, "distance is nan"),
        ({"side": None}, "give both or neither"),
        ({"landmark": None}, "give both or neither"),
        ({"side": "up"}, "side is 'up'"),
    ],
)
def test_an_impossible_leg_is_refused_with_its_value(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(ROUTE.legs[0], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("legs", [[1, 2]], "wrong shape"),
        ("legs", [["east", 2, None, None, [0, 0]]], "heading is 'east'"),
        ("start", [1], "is no place"),
        ("start", [91, 0], "latitude is at most 90"),
        ("side", None, "destination_side is None"),
        ("heading", None, "init_heading is None"),
    ],
)
def test_json_of_another_shape_is_refused(key: str, value: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        from_json({**to_json(ROUTE), key: value})
    with pytest.raises(DataError, match=f"lacks the field '{key}'"):
        from_json({other: kept for other, kept in to_json(ROUTE).items() if other != key})


@pytest.mark.parametrize("value", [None, [1], [1, 2, 3], ["1", "2"], [True, 2], [float("nan"), 0], [0, 181]])
def test_what_is_no_pair_of_degrees_is_no_place(value: object) -> None:
    with pytest.raises(DataError, match="is no place"):
        place_of(value)
