from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.environments.base import SPLITS
from holdfast.environments.navigation import Navigation
from holdfast.environments.navigation.answer_formats import ANSWER_FORMATS
from holdfast.environments.navigation.city import deal
from holdfast.environments.navigation.file_splits import split_of
from holdfast.environments.navigation.instructions import INSTRUCTIONS
from holdfast.environments.navigation.prompts import PROMPT_STYLES
from holdfast.environments.navigation.route import Leg, Route
from holdfast.environments.navigation.routes_file import write_routes
from holdfast.environments.navigation.rules import RULES
from holdfast.errors import DataError, UnknownName, UserError
from holdfast.records import Outcome


@pytest.fixture(scope="module")
def route_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("routes") / "route_infos.json"
    write_routes(path, [deal("train", index, seed=9, milestones=(2, 8)) for index in range(60)])
    return str(path)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_demonstrations_are_correct_in_every_style_and_format(rule: str, instruction: str) -> None:
    for number, answer_format in enumerate(ANSWER_FORMATS):
        for place, style in enumerate((*PROMPT_STYLES, "paraphrase")):
            environment = Navigation(
                rules=("absolute", rule),
                instruction=instruction,
                prompt_style=style,
                answer_format=answer_format,
                mode="strict_format",
            )
            problem = environment.sample(rule, "validation", number + 7 * place, seed=4)
            step = environment.steps(problem)[(number + place) % len(environment.steps(problem))]
            verdict = environment.verify(step, environment.demonstrate(step))
            assert verdict.outcome is Outcome.CORRECT
            assert verdict.facts["instruction_ok"] is not False
            assert verdict.facts["observation_ok"] is not False
            # What an answer states to see stands in the prompt, as it is worded there.
            if answer_format == "observation_action":
                seen = environment.demonstrate(step).partition(" -> ")[0]
                assert seen in environment.prompt(step)[0]["content"]


def test_a_route_is_the_same_under_every_rule() -> None:
    environment = Navigation(rules=("absolute", "relative", "tokens_5"))
    for split in SPLITS:
        for index in range(10):
            one, *others = (environment.sample(rule, split, index, seed=0) for rule in environment.rules)
            assert all((other.key, other.facts) == (one.key, one.facts) for other in others)


def test_a_route_is_asked_like_its_first_point() -> None:
    environment = Navigation()
    whole = environment.sample("relative", "test", 4, seed=0)
    first, *_ = environment.steps(whole)
    assert environment.prompt(whole) == environment.prompt(first)
    assert environment.demonstrate(whole) == environment.demonstrate(first)
    assert environment.verify(whole, "stop()") == environment.verify(first, "stop()")
    assert environment.steps(first) == (first,)


def test_points_carry_the_key_and_number_of_their_route() -> None:
    environment = Navigation()
    whole = environment.sample("relative", "test", 4, seed=0)
    steps = environment.steps(whole)
    assert [step.facts["step"] for step in steps] == list(range(len(steps)))
    assert {step.key for step in steps} == {whole.key}
    again = replace(steps[3], facts=json.loads(json.dumps(dict(steps[3].facts))))
    assert environment.prompt(again) == environment.prompt(steps[3])


def test_routes_have_as_many_milestones_as_asked_and_points_of_the_road_as_the_rail_keeps() -> None:
    environment = Navigation(milestones=(3, 4), drop_rate=1.0)
    bare = {len(environment.steps(environment.sample("absolute", "train", index, seed=0))) for index in range(40)}
    assert bare == {4, 5}  # the start and the milestones
    full = Navigation(milestones=(3, 4), drop_rate=0.0, straight_line_length=3)
    assert max(len(full.steps(full.sample("absolute", "train", index, seed=0))) for index in range(40)) == 5 + 4 * 2


def test_every_point_but_the_ends_can_be_a_road() -> None:
    environment = Navigation(answer_format="action")
    for index in range(20):
        said = [
            environment.demonstrate(step)
            for step in environment.steps(environment.sample("absolute", "train", index, seed=0))
        ]
        assert said[0].startswith("turn_direction")
        assert said[-1] == "stop()"
        assert "stop()" not in said[:-1]


def test_published_sides_are_wrong_across_north_and_ours_are_not() -> None:
    legs = (Leg(45, 60.0, None, None, (0.0004, 0.0004)), Leg(0, 60.0, None, None, (0.0009, 0.0004)))
    route = Route("r", "c", (0.0, 0.0), 315, legs, "Inn", "left")
    said = {}
    for mode in ("strict", "legacy"):
        environment = Navigation(mode=mode)
        problem = environment.pose("relative", route, split="test")
        said[mode] = environment.prompt(problem)[0]["content"].split("[Instruction]\n")[1].split("\n")[0]
        assert environment.verify(problem, environment.demonstrate(problem)).outcome is Outcome.CORRECT
    assert said == {
        "strict": "1. First, turn right to face northeast.",
        "legacy": "1. First, turn left to face northeast.",
    }


def test_routes_of_a_file_are_parted_without_rest_or_overlap(route_file: str) -> None:
    environment = Navigation(routes=route_file)
    keys = {
        split: [environment.sample("absolute", split, index, seed=0).key for index in range(120)]
        for split in ("train", "validation", "test")
    }
    parts = [set(own) for own in keys.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 60
    assert len(parts[0]) > len(parts[2]) > len(parts[1]) > 0
    many = len(parts[0])
    assert keys["train"][:many] == keys["train"][many : 2 * many]
    assert len(set(keys["train"][:many])) == many
    one, again = (environment.sample("absolute", "train", index, seed=0) for index in (0, many))
    assert one.facts["rail_seed"] != again.facts["rail_seed"]


def test_a_route_keeps_its_split_whatever_its_name_and_place() -> None:
    routes = [deal("train", index, seed=9) for index in range(50)]
    assert [split_of(replace(route, name="x")) for route in routes] == [split_of(route) for route in routes]


def test_questions_of_a_route_file_are_lawful(route_file: str) -> None:
    environment = Navigation(routes=route_file, mode="legacy")
    for index in range(20):
        for step in environment.steps(environment.sample("relative", "test", index, seed=0)):
            assert environment.verify(step, environment.demonstrate(step)).reward == 1


def test_splits_that_a_file_cannot_have_are_refused(route_file: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recall"):
        Navigation(routes=route_file).sample("absolute", "recall", 0, seed=0)
    lonely = [route for route in (deal("train", index, seed=9) for index in range(60)) if split_of(route) == "train"]
    write_routes(tmp_path / "few.json", lonely[:2])
    with pytest.raises(UserError, match="none of the 2 routes"):
        Navigation(routes=str(tmp_path / "few.json")).sample("absolute", "test", 0, seed=0)
    with pytest.raises(DataError, match=r"no\.json"):
        Navigation(routes=str(tmp_path / "no.json"))


def test_points_without_a_panorama_are_left_out(route_file: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "panoramas.json"
    nowhere.write_text('[[80.0, 0.0, "pole"]]', encoding="utf-8")
    environment = Navigation(routes=route_file, panoramas=str(nowhere), answer_format="action")
    for index in range(10):
        steps = environment.steps(environment.sample("absolute", "train", index, seed=0))
        assert "forward()" not in map(environment.demonstrate, steps)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": ()}, "rules is empty"),
        ({"rules": "absolute"}, "list of rule names"),
        ({"rules": ("absolut",)}, "absolute"),
        ({"instruction": "bot"}, "both"),
        ({"prompt_style": "papre"}, "paper"),
        ({"answer_format": "jsno"}, "json"),
        ({"mode": "strikt"}, "strict"),
        ({"mode": "legacy", "answer_format": "action"}, "answer_format 'json'"),
        ({"milestones": (1, 5)}, "milestones"),
        ({"milestones": (5, 4)}, "milestones"),
        ({"milestones": 3}, "milestones"),
        ({"milestones": (2.0, 4)}, "milestones"),
        ({"drop_rate": 1.5}, "drop_rate"),
        ({"straight_line_length": -1}, "straight_line_length"),
    ],
)
def test_impossible_options_are_refused_with_their_names(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Navigation(**options)  # type: ignore[arg-type]


def test_a_rule_that_is_not_in_play_is_refused_by_sample_and_can_be_posed() -> None:
    environment = Navigation()
    with pytest.raises(UserError, match=r"clock.*not in play"):
        environment.sample("clock", "train", 0, seed=0)
    with pytest.raises(UnknownName):
        environment.sample("no_such_rule", "train", 0, seed=0)
    posed = environment.pose("clock", deal("train", 0, seed=0), split="train")
    assert environment.verify(posed, environment.demonstrate(posed)).outcome is Outcome.CORRECT


def test_lists_of_a_recipe_become_hashable() -> None:
    environment = Navigation(rules=["absolute", "clock"], milestones=[2, 3])  # type: ignore[arg-type]
    assert hash(environment) == hash(Navigation(rules=("absolute", "clock"), milestones=(2, 3)))
