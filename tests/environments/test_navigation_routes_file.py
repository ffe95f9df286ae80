from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.geometry import compass
from holdfast.environments.navigation.rail import Panoramas
from holdfast.environments.navigation.routes_file import (
    CONVERTER,
    milestone_info,
    read_milestone_info,
    read_panoramas,
    read_routes,
    to_published,
    write_routes,
)
from holdfast.errors import DataError

ROUTE = deal("train", 0, seed=0)
ROUTES = [deal(split, index, seed=0, milestones=(2, 10)) for split in ("train", "test") for index in range(60)]


def saved(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def changed(**fields: Any) -> dict[str, Any]:
    return {**to_published(ROUTE), **fields}


def published_parse(text: str) -> list[dict[str, str]]:
    """The published parser as the reference describes it: split at braces, strip, split lines at the first colon."""
    blocks = []
    for block in text.split("}"):
        lines = [line for line in block.strip().strip("{").split("\n") if ":" in line]
        if lines:
            parts = [line.split(":", 1) for line in lines]
            blocks.append({key.strip().strip('",'): value.strip().strip(",").strip('"') for key, value in parts})
    return blocks


def test_routes_survive_the_published_form(tmp_path: Path) -> None:
    odd = [
        replace(ROUTE, name="north", init_heading=0),
        replace(ROUTE, name="half a meter", legs=(replace(ROUTE.legs[0], distance=71.5), *ROUTE.legs[1:])),
        replace(ROUTE, name="quotes", destination='Joe\'s "Best", Ltd: {1 is on your left'),
        replace(ROUTE, name="東", city="Zürich", destination="Café Ü"),
        replace(ROUTE, name="one leg", legs=ROUTE.legs[-1:]),
    ]
    write_routes(tmp_path / "route_infos.json", [*ROUTES, *odd])
    read = read_routes(tmp_path / "route_infos.json", seed=5)
    assert read.routes == (*ROUTES, *odd)
    assert read.counter == len(ROUTES) + len(odd)


def test_what_is_written_is_read_alike_by_the_published_parser() -> None:
    for route in ROUTES:
        blocks = published_parse(milestone_info(route))
        assert blocks == read_milestone_info(milestone_info(route))
        assert [block["to_next_intersection_heading"] for block in blocks] == [
            f"{leg.heading} ({compass(leg.heading)})" for leg in route.legs
        ]
        assert blocks[-1]["landmarks"] == f"The destination {route.destination} is on your {route.destination_side}"


def test_the_written_form_is_that_of_the_published_data(tmp_path: Path) -> None:
    write_routes(tmp_path / "a.json", [ROUTE])
    (route,), counter = json.loads((tmp_path / "a.json").read_text())
    assert counter == 1
    assert len(route["route_results"]["geocode_list"]) == len(ROUTE.legs)
    assert len(route["route_results"]["landmark_list"]) == len(ROUTE.legs) - 1
    assert route["start_place"]["relocated_geocode"] == list(ROUTE.start)
    assert route["milestone_info"].startswith(
        '{\n"intersection_idx": "0",\n"landmarks": "Beacon Laundry is on your front",\n"distance": "67 meters",\n'
        '"human_heading": "309",\n"to_next_intersection_heading": "189 (south)",\n}\n{\n"intersection_idx": "1",\n'
    )


@pytest.mark.parametrize("unknown", [0, None, "missing"])
def test_an_unknown_initial_heading_is_drawn_from_the_seed(tmp_path: Path, unknown: object) -> None:
    row = changed(init_heading=unknown)
    if unknown == "missing":
        del row["init_heading"]
    rows = [{**row, "name": f"{k}"} for k in range(400)]
    path = saved(tmp_path / "a.json", [rows, 400])
    drawn = [route.init_heading for route in read_routes(path, seed=1).routes]
    assert drawn == [route.init_heading for route in read_routes(path, seed=1).routes]
    assert drawn != [route.init_heading for route in read_routes(path, seed=2).routes]
    assert len(set(drawn)) > 180
    assert max(drawn) > 340
    assert min(drawn) < 20


def test_real_routes_without_names_are_named_by_their_place(tmp_path: Path) -> None:
    row = {key: value for key, value in changed().items() if key not in ("name", "city")}
    routes = read_routes(saved(tmp_path / "a.json", [[row, row], 2.0]), seed=0).routes
    assert [(route.name, route.city) for route in routes] == [("route 0", "unknown"), ("route 1", "unknown")]


def test_a_brace_inside_a_value_does_no_harm(tmp_path: Path) -> None:
    info = milestone_info(ROUTE).replace(ROUTE.destination, "Cafe {7}")
    row = changed(milestone_info=info)
    assert read_routes(saved(tmp_path / "a.json", [[row], 1]), seed=0).routes[0].destination == "Cafe {7}"
    with pytest.raises(DataError, match=r"'Cafe \{7\}' holds '\}'"):
        write_routes(tmp_path / "b.json", [replace(ROUTE, destination="Cafe {7}")])
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{\n"a": "x: y",\n"b": "2"\n}{\n"a": "3",\n}',
        '{"a": "x: y",\n"b": "2"}\n{"a": "3"}',
        "  {\n  'a': 'x: y',\n  b: 2\n  },\n\n  {\n  a: 3,\n  }  ",
        '{\r\n"a": "x: y",\r\n"b": "2",\r\n}\r\n{\r\n"a": "3",\r\n}',
    ],
)
def test_blocks_are_found_in_whatever_layout(text: str) -> None:
    assert read_milestone_info(text) == [{"a": "x: y", "b": "2"}, {"a": "3"}]


INFO = milestone_info(ROUTE)
BAD = [
    ({"milestone_info": INFO.replace("189 (south)", "south")}, "block 0: to_next_intersection_heading is 'south'"),
    ({"milestone_info": INFO.replace("67 meters", "far")}, "block 0: distance is 'far'"),
    ({"milestone_info": INFO.replace("is on your front", "is near")}, "block 0: landmarks is 'Beacon Laundry is near'"),
    ({"milestone_info": INFO.replace("on your front", "on your nose")}, "block 0: side is 'nose'"),
    ({"milestone_info": INFO.replace("The destination ", "")}, "the last block's landmarks is 'Comet Bakery"),
    ({"milestone_info": INFO.replace('"distance"', '"meters"')}, "block 0 lacks distance; it has: intersection_idx"),
    ({"milestone_info": INFO + "{\n\"a\": \"b\"\n}"}, "has 5 blocks and geocode_list 4 milestones"),
    ({"milestone_info": None}, "milestone_info is NoneType, not text"),
    ({"route_results": {}}, "route_results.geocode_list is missing"),
    ({"route_results": {"geocode_list": [["1", 2]]}}, r"geocode_list: \['1', 2\] is no place"),
    ({"start_place": {}}, "lacks geocode"),
    ({"start_place": {"geocode": [99, 0]}}, "start_place: .* latitude is at most 90"),
    ({"init_heading": "12"}, "init_heading is '12'"),
    ({"init_heading": 12.5}, "init_heading is 12.5"),
    ({"init_heading": float("inf")}, "init_heading is inf"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "says"), BAD, ids=[says for _, says in BAD])
def test_a_malformed_route_is_named_with_its_field(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    rows = [changed(name="good"), changed(**fields)]
    with pytest.raises(DataError, match=says) as caught:
        read_routes(saved(tmp_path / "a.json", [rows, 2]), seed=0)
    assert "a.json: 1 of 2 routes cannot be used" in str(caught.value)
    assert "route 1 (to 'Comet Bakery'): " in str(caught.value)


def test_ten_bad_routes_are_named_at_once_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_routes(saved(tmp_path / "a.json", [[{}] * 13, 13]), seed=0)
    assert len(str(caught.value).splitlines()) == 1 + 10 + 1
    assert "and 3 more" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"routes": []}, "is not a route file"),
        ([[]], "is not a route file"),
        ([[], 0], "holds no routes"),
        ([[changed()], "1"], "the counter, is '1'"),
        ([[changed(), changed()], 2], "is given to 2 routes"),
        ([["x"], 1], "is str, not an object"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, value: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_routes(saved(tmp_path / "a.json", value), seed=0)


def test_a_missing_file_and_one_that_is_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_routes(tmp_path / "a.json", seed=0)
    (tmp_path / "a.json").write_text("[[")
    with pytest.raises(DataError, match="is not JSON"):
        read_routes(tmp_path / "a.json", seed=0)


MAP = {(40.75, -73.98): "abc", (40.751, -73.981): "def"}


@pytest.mark.parametrize("as_rows", [True, False])
def test_a_map_of_panoramas_is_read_from_json(tmp_path: Path, as_rows: bool) -> None:
    value = [[*place, name] for place, name in MAP.items()] if as_rows else {
        f"{place[0]},{place[1]}": name for place, name in MAP.items()
    }  # fmt: skip
    found = read_panoramas(saved(tmp_path / "map.json", value))
    assert found == MAP
    assert Panoramas(found).nearest((40.7501, -73.98)) == (40.75, -73.98)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("name", ["gps_pano_mapping.pkl", "map.pickle", "map.json"])
def test_a_pickle_is_refused_unopened_with_the_way_to_convert_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DataError, match="is a pickle") as caught:
        read_panoramas(tmp_path / name)
    assert CONVERTER in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_the_way_to_convert_a_pickle_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gps_pano_mapping.pkl").write_bytes(pickle.dumps(MAP))
    monkeypatch.chdir(tmp_path)
    code = "\n".join(line.removeprefix("    ") for line in CONVERTER.splitlines())
    files: dict[str, Any] = {}
    exec(code, files)
    assert read_panoramas(tmp_path / "gps_pano_mapping.json") == MAP


@pytest.mark.parametrize("value", [3, [[1, 2]], {"1": "a"}, {"x,y": "a"}, [[91, 0, "a"]]])
def test_a_map_of_another_shape_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match=r"write (an object|\[latitude)"):
        read_panoramas(saved(tmp_path / "map.json", value))
