from __future__ import annotations

import json

import pytest

from holdfast.environments.navigation import Navigation
from holdfast.environments.navigation.answer_formats import ANSWER_FORMATS, find_action, read_action
from holdfast.environments.navigation.route import Leg, Route
from holdfast.environments.navigation.rules import RULES
from holdfast.records import Outcome, Problem, Verdict

ROUTE = Route(
    "r", "c", (0.0, 0.0), 90,
    (Leg(0, 60.0, "Maple Bakery", "left front", (0.0005, 0.0)), Leg(315, 60.0, None, None, (0.0009, -0.0004))),
    "Old Owl Inn", "right",
)  # fmt: skip
START, ROAD, CROSSING, SECOND_ROAD, DESTINATION = range(5)


def point(environment: Navigation, step: int, *, rule: str = "absolute", route: Route = ROUTE) -> Problem:
    return environment.steps(environment.pose(rule, route, split="test"))[step]


def judged(reply: str, *, step: int = CROSSING, rule: str = "absolute", **options: object) -> Verdict:
    environment = Navigation(straight_line_length=2, drop_rate=0, **options)  # type: ignore[arg-type]
    return environment.verify(point(environment, step, rule=rule), reply)


@pytest.mark.parametrize("asked", ANSWER_FORMATS)
@pytest.mark.parametrize("given", ANSWER_FORMATS)
def test_an_action_is_understood_in_any_format_and_kept_to_one_only_if_asked(asked: str, given: str) -> None:
    for step in range(5):
        writer = Navigation(straight_line_length=2, drop_rate=0, answer_format=given)
        reply = writer.demonstrate(point(writer, step))
        found = judged(reply, step=step, answer_format=asked)
        assert found.outcome is Outcome.CORRECT
        assert found.facts["format_ok"] == (asked == given)
        strictly = judged(reply, step=step, answer_format=asked, mode="strict_format")
        assert (strictly.outcome is Outcome.CORRECT) == (asked == given)
        assert asked == given or (strictly.code == "wrong_format" and strictly.outcome is Outcome.UNPARSED)


@pytest.mark.parametrize(
    "reply",
    [
        "turn_direction(northwest)",
        "  turn_direction( northwest )\n",
        'turn_direction("northwest")',
        "I turn left, so turn_direction(north)? No: turn_direction(northwest).",
        '{"action":"turn_direction(northwest)"}',
        '{\n\n "current observation" :"x", "action": "turn_direction(northwest)"',
    ],
)
def test_blanks_quotes_and_free_words_do_not_matter(reply: str) -> None:
    assert judged(reply).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("turn_direction(north)", "wrong_action"),
        ("turn_direction(northwest) or forward()", "wrong_action"),
        ("turn_direction(North West)", "not_in_action_space"),
        ("turn_direction(left)", "not_in_action_space"),
        ("turn_direction(northwest", "no_action"),
        ("turn_direction()", "no_action"),
        ("forward(2)", "no_action"),
        ("northwest", "no_action"),
        ("", "no_action"),
    ],
)
def test_other_replies_fail_by_name(reply: str, code: str) -> None:
    found = judged(reply, answer_format="action")
    assert found.code == code
    assert found.reward == -1
    assert (found.outcome is Outcome.UNPARSED) == (code == "no_action")


def test_blocks_may_be_indented_as_they_like_and_end_with_or_without_a_comma() -> None:
    block = {
        "current observation": "Maple Bakery is on your left front; You observe an intersection",
        "current instruction": "Turn slightly left to face northwest.",
        "action": "turn_direction(northwest)",
    }
    for text in (json.dumps(block), json.dumps(block, indent=4), json.dumps(block)[:-1] + ",\n}"):
        found = judged(text, mode="strict_format")
        assert found.outcome is Outcome.CORRECT
        assert found.facts["instruction_ok"] is True
        assert found.facts["observation_ok"] is True
    block["current instruction"] = "Turn slightly left to face north."
    found = judged(json.dumps(block))
    assert found.outcome is Outcome.CORRECT
    assert found.facts["instruction_ok"] is False


def test_what_a_format_does_not_state_is_unknown() -> None:
    for name, form in ANSWER_FORMATS.items():
        found = judged("no idea", answer_format=name).facts
        assert found["instruction_ok"] is (False if form.states("instruction") or form.states("number") else None)
        assert found["observation_ok"] is (False if form.states("observation") else None)


def test_names_with_quotes_survive_every_format() -> None:
    legs = (Leg(0, 60.0, 'The "Y" \\ Café, {action}', "left", (0.0005, 0.0)), ROUTE.legs[1])
    route = Route("r", "c", (0.0, 0.0), 90, legs, 'O"wl', "right")
    for name in ANSWER_FORMATS:
        environment = Navigation(straight_line_length=2, drop_rate=0, answer_format=name, mode="strict_format")
        for step in (CROSSING, DESTINATION):
            asked = point(environment, step, route=route)
            found = environment.verify(asked, environment.demonstrate(asked))
            assert found.outcome is Outcome.CORRECT, (name, environment.demonstrate(asked))
            assert found.facts["instruction_ok"] is not False


def test_each_fact_of_an_action_is_known_at_its_own_points() -> None:
    for step, fact in (
        (START, "turn_right"),
        (ROAD, "forward_right"),
        (CROSSING, "turn_right"),
        (DESTINATION, "stop_right"),
    ):
        for reply, right in ((None, True), ("turn_direction(south)", False), ("no idea", False)):
            environment = Navigation(straight_line_length=2, drop_rate=0)
            asked = point(environment, step)
            found = environment.verify(asked, environment.demonstrate(asked) if reply is None else reply).facts
            assert {name: found[name] for name in ("turn_right", "forward_right", "stop_right")} == {
                "turn_right": None, "forward_right": None, "stop_right": None, fact: right,
            }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "reply", "under_training", "trained_space"),
    [
        (CROSSING, "turn_direction(slightly left)", False, False),
        (CROSSING, "turn_direction(northwest)", True, True),
        (CROSSING, "turn_direction(south)", False, True),
        (CROSSING, "turn_direction(up)", False, False),
        (CROSSING, "forward()", False, False),
        (CROSSING, "no idea", False, False),
        (ROAD, "turn_direction(south)", None, True),
        (ROAD, "forward()", None, False),
    ],
)
def test_the_trained_action_space_shows_under_another_rule(
    step: int, reply: str, under_training: bool | None, trained_space: bool
) -> None:
    found = judged(reply, step=step, rule="relative").facts
    assert found["right_under_training_rule"] is under_training
    assert found["in_trained_action_space"] is trained_space
    under_own = judged(reply, step=step, rule="absolute").facts
    assert under_own["right_under_training_rule"] is None
    assert under_own["in_trained_action_space"] is None


@pytest.mark.parametrize(
    ("step", "reply", "pair"),
    [
        (CROSSING, "turn_direction(slightly left)", ("slightly left", "slightly left")),
        (CROSSING, "turn_direction(right)", ("slightly left", "right")),
        (CROSSING, "turn_direction(northwest)", ("slightly left", "northwest")),
        (CROSSING, "turn_direction(up)", ("slightly left", "other")),
        (CROSSING, "stop()", ("slightly left", "stop")),
        (ROAD, "no idea", ("forward", "unparsed")),
        (DESTINATION, "stop()", ("stop", "stop")),
    ],
)
def test_confusion_pairs_the_words_of_the_right_and_the_given_action(
    step: int, reply: str, pair: tuple[str, str]
) -> None:
    assert judged(reply, step=step, rule="relative").confusion == pair
    if step != CROSSING:
        published = judged(BLOCK.format(seen="x", action=reply), step=step, rule="relative", mode="legacy")
        assert published.confusion == (pair if "()" in reply else (pair[0], "other"))


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("stop()", "stop()"),
        (" forward ( ) ", "forward()"),
        ("turn_direction(slightly  left)", "turn_direction(slightly left)"),
        ("turn_direction((north))", None),
        ("stop() now", None),
        ("go()", None),
        ("stop", None),
    ],
)
def test_an_action_is_read_as_a_call(text: str, action: str | None) -> None:
    assert read_action(text) == action
    assert find_action(f"well, {action} it is") == action


BLOCK = '{{\n  "current observation": "{seen}",\n  "current instruction": "x",\n  "action": "{action}",\n}}'


@pytest.mark.parametrize(
    ("step", "seen", "action", "reward", "code"),
    [
        (CROSSING, "You observe an intersection", "turn_direction(northwest)", 1, "correct"),
        (CROSSING, "nothing", "turn_direction(northwest)", 1, "correct"),
        (CROSSING, "You observe an intersection", "turn_direction(north)", -1.5, "no_intersection_here"),
        (CROSSING, "nothing", "turn_direction(north)", -1, "wrong_action"),
        (CROSSING, "nothing", " turn_direction(northwest)", -1, "wrong_action"),
        (CROSSING, "nothing", "turn_direction( northwest)", -1, "wrong_action"),
        (ROAD, "an intersection", "stop()", -1.5, "no_intersection_here"),
        (ROAD, "an Intersection", "stop()", -1, "wrong_action"),
        (ROAD, "an intersection", "forward()", 1, "correct"),
    ],
)
def test_the_published_judge_pays_as_published(step: int, seen: str, action: str, reward: float, code: str) -> None:
    for text in (BLOCK.format(seen=seen, action=action), json.dumps({"seen": seen, "action": action})):
        found = judged(text, step=step, mode="legacy")
        assert (found.reward, found.code) == (reward, code)
        assert (found.outcome is Outcome.CORRECT) == (reward == 1)


def test_the_published_second_branch_needs_a_landmark_that_names_an_intersection() -> None:
    legs = (Leg(0, 60.0, "Cafe at the intersection", "left", (0.0005, 0.0)), ROUTE.legs[1])
    route = Route("r", "c", (0.0, 0.0), 90, legs, "Inn", "right")
    environment = Navigation(straight_line_length=2, drop_rate=0, mode="legacy")
    asked = point(environment, CROSSING, route=route)
    assert environment.verify(asked, '"action": "stop()"').code == "intersection_here"
    assert environment.verify(asked, 'an intersection "action": "stop()"').code == "wrong_action"


def test_published_feedback_repeats_the_shape_with_doubled_braces() -> None:
    message = judged("no idea", mode="legacy").message
    assert "{{\n" in message
    assert message.endswith("}}")
    assert judged("no idea", mode="legacy").outcome is Outcome.UNPARSED


@pytest.mark.parametrize("reply", ['{"action": 3}', '["action"]', '"action"', "{" * 20_000, "[" * 20_000, "9" * 20_000])
def test_json_of_another_shape_is_no_action_for_the_published_judge(reply: str) -> None:
    assert judged(reply, mode="legacy").outcome is Outcome.UNPARSED


@pytest.mark.parametrize("rule", RULES)
def test_a_right_answer_is_right_in_every_mode(rule: str) -> None:
    for mode in ("strict", "strict_format", "legacy"):
        environment = Navigation(rules=("absolute", rule), mode=mode)
        for index in range(5):
            for step in environment.steps(environment.sample(rule, "test", index, seed=2)):
                assert environment.verify(step, environment.demonstrate(step)).reward == 1
