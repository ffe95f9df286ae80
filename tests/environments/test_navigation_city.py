from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise
from math import cos, radians, sin

import pytest

from holdfast.environments.navigation import names
from holdfast.environments.navigation.city import HOMES, STRAIGHT, City, city, deal
from holdfast.environments.navigation.geometry import COMPASS, SIDES, TURNS, TURNS_8, Plane, difference, distance, side
from holdfast.environments.navigation.names import draw_names, name_words, pairs, pool_of
from holdfast.environments.navigation.route import Route
from holdfast.environments.navigation.street_plans import SNAPPED_STYLES, STYLES
from holdfast.errors import UnknownName, UserError

CITIES = [(style, home, number) for style in STYLES for home, number in (("train", 0), ("compose", 1), ("recall", 2))]
ROUTES = {
    split: [deal(split, index, seed=0, milestones=(2, 10)) for index in range(300)]
    for split in ("train", "validation", "test", "recall", "compose", "pretrain")
}
EVERY = [route for routes in ROUTES.values() for route in routes]


def crosses(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float], s: tuple[float, float]) -> bool:
    """Whether the open segments pq and rs meet."""

    def turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    return turn(p, q, r) * turn(p, q, s) < -1e-6 and turn(r, s, p) * turn(r, s, q) < -1e-6


def leaving(found: City) -> dict[int, list[int]]:
    """Headings of the streets that leave each crossing."""
    headings: dict[int, list[int]] = {}
    for street in found.streets:
        headings.setdefault(street.begin, []).append(street.heading)
    return headings


@pytest.mark.parametrize("which", CITIES, ids=lambda which: "-".join(map(str, which)))
def test_streets_of_a_city_meet_only_at_crossings(which: tuple[str, str, int]) -> None:
    found = city(*which)
    at = found.crossings
    for (a, b), (c, d) in combinations(found.blocks, 2):
        assert len({a, b, c, d}) < 4 or not crosses(at[a], at[b], at[c], at[d])
    assert len({frozenset(block) for block in found.blocks}) == len(found.blocks)


@pytest.mark.parametrize("which", CITIES, ids=lambda which: "-".join(map(str, which)))
def test_streets_that_leave_a_crossing_are_told_apart_by_direction(which: tuple[str, str, int]) -> None:
    for headings in leaving(city(*which)).values():
        for a, b in combinations(headings, 2):
            assert abs(difference(a, b)) >= 40


@pytest.mark.parametrize("which", CITIES, ids=lambda which: "-".join(map(str, which)))
def test_all_of_a_city_can_be_walked_to(which: tuple[str, str, int]) -> None:
    found = city(*which)
    reached = {0}
    while more := {s.end for s in found.streets if s.begin in reached} - reached:
        reached |= more
    assert len(reached) == len(found.crossings)


def test_a_name_occurs_once_in_a_city() -> None:
    for which in CITIES:
        found = city(*which)
        assert len(set(found.places)) == len(found.places) >= 40


@pytest.mark.parametrize("split", ROUTES)
def test_a_route_ends_where_its_headings_and_distances_lead(split: str) -> None:
    for route in ROUTES[split]:
        here = route.start
        for leg in route.legs:
            east, north = leg.distance * sin(radians(leg.heading)), leg.distance * cos(radians(leg.heading))
            assert distance(Plane(here).place(east, north), leg.end) < 3
            here = leg.end


def test_a_leg_ends_at_the_first_crossing_it_comes_to_where_three_streets_meet_or_more() -> None:
    for route in EVERY:
        found = city(*split_name(route))
        degree = Counter(street.begin for street in found.streets)
        crossing_at = {found.at(spot): number for number, spot in enumerate(found.crossings)}
        met = [crossing_at[leg.end] for leg in route.legs[:-1]]
        assert all(degree[number] >= 3 for number in met)
        assert len(set(met)) == len(met)
        blocks = {frozenset(block) for block in found.blocks}
        assert all(frozenset(pair) in blocks for pair in pairwise(met))


@pytest.mark.parametrize("which", CITIES, ids=lambda which: "-".join(map(str, which)))
def test_a_place_keeps_its_position_whichever_way_one_comes(which: tuple[str, str, int]) -> None:
    found = city(*which)
    seen: dict[str, list[tuple[int, str]]] = {}
    for there, back in zip(found.streets[::2], found.streets[1::2], strict=True):
        for (leg, name, on), (other_leg, other_name, other_on) in zip(there.stops, back.stops, strict=True):
            assert (name, leg.end) == (other_name, other_leg.end)
            assert (SIDES.index(on) - SIDES.index(other_on)) % 8 == 4
            assert on not in ("front", "behind")
            assert leg.distance + other_leg.distance == pytest.approx(there.meters, abs=1.5)
        for leg in (*there.legs, *back.legs):
            if leg.landmark is not None and leg.side is not None:
                seen.setdefault(leg.landmark, []).append((leg.heading, leg.side))
    for arrivals in seen.values():  # some one bearing explains all sides
        assert any(all(side(half / 2, heading) == on for heading, on in arrivals) for half in range(720))


def split_name(route: Route) -> tuple[str, str, int]:
    style, home, number = route.city.split("-")
    return style, home, int(number)


def test_a_route_turns_at_every_milestone_or_passes_an_announced_landmark() -> None:
    straight = 0
    for route in EVERY:
        for before, after in pairwise(route.legs):
            if abs(difference(before.heading, after.heading)) <= STRAIGHT:
                straight += 1
                assert before.landmark is not None
    assert straight > 100


def test_a_route_names_no_place_twice() -> None:
    for route in EVERY:
        named = [leg.landmark for leg in route.legs if leg.landmark is not None] + [route.destination]
        assert len(set(named)) == len(named)


def test_every_number_of_milestones_side_and_style_is_dealt() -> None:
    assert {len(route.legs) for route in EVERY} == set(range(2, 11))
    assert {leg.side for route in EVERY for leg in route.legs} == {*SIDES, None}
    assert {split_name(route)[0] for route in EVERY} == set(STYLES)
    assert all(route.init_heading != 0 for route in EVERY)


def words_together(routes: list[Route]) -> set[tuple[str, ...]]:
    """Pairs of proper word and kind."""
    named = [name for route in routes for name in (*(leg.landmark for leg in route.legs), route.destination) if name]
    return {tuple(name.split()[-2:]) for name in named}


def test_splits_share_no_city_and_no_pair_of_words() -> None:
    for a, b in combinations(("train", "validation", "recall", "compose"), 2):
        assert not {route.city for route in ROUTES[a]} & {route.city for route in ROUTES[b]}
        assert not words_together(ROUTES[a]) & words_together(ROUTES[b])
    for split in ("train", "validation"):
        assert not {route.city for route in ROUTES[split]} & {route.city for route in ROUTES["test"]}
        assert not words_together(ROUTES[split]) & words_together(ROUTES["test"])


def test_test_routes_lie_in_cities_of_recall_and_of_compose() -> None:
    homes = Counter(split_name(route)[1] for route in ROUTES["test"])
    assert set(homes) == {"recall", "compose"}
    assert min(homes.values()) > 100


def test_pretraining_sees_no_city_of_a_split_and_no_words_of_compose_together() -> None:
    cities = {route.city for split in ROUTES if split != "pretrain" for route in ROUTES[split]}
    assert not cities & {route.city for route in ROUTES["pretrain"]}
    seen = words_together(ROUTES["pretrain"])
    assert {pool_of(" ".join(pair)) for pair in seen} == {"train", "recall"}
    assert {word for pair in words_together(ROUTES["compose"]) for word in pair} <= {w for pair in seen for w in pair}


def test_a_route_depends_on_its_arguments_alone() -> None:
    before = [deal("test", index, seed=7) for index in range(0, 30, 3)]
    city.cache_clear()
    names.pairs.cache_clear()
    assert [deal("test", index, seed=7) for index in reversed(range(0, 30, 3))] == before[::-1]
    assert deal("test", 0, seed=8) != before[0]
    assert len({route.name for route in EVERY}) == len(EVERY)


def test_the_numbers_of_a_seed_stay_what_they_were() -> None:
    # Recorded runs depend on the routes that a seed deals: a change here calls for a new name of the world.
    route = deal("train", 0, seed=0)
    assert (route.city, route.init_heading, [leg.heading for leg in route.legs], route.destination) == (
        "rotated-train-1", 309, [189, 99, 9, 99], "Comet Bakery",
    )  # fmt: skip


def test_snapped_routes_know_eight_headings_alone() -> None:
    routes = [deal("train", index, seed=0, snapped=True) for index in range(100)]
    assert {route.init_heading % 45 for route in routes} == {0}
    assert {leg.heading % 45 for route in routes for leg in route.legs} == {0}
    assert {split_name(route)[0] for route in routes} == set(SNAPPED_STYLES)


def test_landmarks_are_announced_as_often_as_asked() -> None:
    def announced(share: float) -> int:
        routes = [deal("train", i, seed=0, landmark_share=share, straight_share=0.0) for i in range(200)]
        return sum(leg.landmark is not None for route in routes for leg in route.legs)

    assert announced(0.0) == 0 < announced(0.5) < announced(1.0)


@pytest.mark.parametrize(
    ("split", "options", "says"),
    [
        ("exam", {}, "no such split"),
        ("train", {"milestones": (1, 5)}, r"milestones is \(1, 5\)"),
        ("train", {"milestones": (5, 4)}, r"milestones is \(5, 4\)"),
        ("train", {"milestones": (2, 11)}, "from 2 to 10"),
        ("train", {"styles": ("spiral",)}, "no such city style: 'spiral'"),
        ("train", {"styles": ()}, "name at least one of grid"),
        ("train", {"styles": ("rings",), "snapped": True}, "name at least one of grid, diagonal"),
        ("train", {"landmark_share": 1.5}, "landmark_share is 1.5"),
    ],
)
def test_impossible_options_are_refused(split: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        deal(split, 0, seed=0, **options)  # type: ignore[arg-type]


def test_unknown_cities_are_refused() -> None:
    with pytest.raises(UnknownName):
        city("grid", "exam", 0)
    with pytest.raises(UnknownName):
        city("maze", "train", 0)
    assert set(HOMES) == set(ROUTES) - {"test"}


def test_names_are_made_of_at_most_160_words_none_of_which_tells_a_way() -> None:
    words = name_words()
    assert len(set(words)) == len(words) <= 160
    telling = {word for text in (*COMPASS, *SIDES, *TURNS, *TURNS_8) for word in text.split()}
    telling |= {"intersection", "destination", "turn", "forward", "stop", "next", "clock", "no", "landmark"}
    assert not telling & {word.lower() for word in words}
    drawn = {word for route in EVERY for word in route.destination.split()}
    assert drawn <= set(words)


def test_every_word_occurs_in_every_pool() -> None:
    for pool in names.POOLS:
        assert {proper for proper, _ in pairs(pool)} == set(names.PROPER)
        assert {kind for _, kind in pairs(pool)} == set(names.KINDS)


def test_names_of_other_words_and_too_many_names_are_refused() -> None:
    from random import Random

    with pytest.raises(UserError, match="is not a made name"):
        pool_of("Maple Street Bakery")
    with pytest.raises(UserError, match="2000 names are asked"):
        draw_names(("recall",), 2000, Random(0))
    with pytest.raises(UnknownName):
        pairs("exam")
