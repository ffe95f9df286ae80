from __future__ import annotations

import re
from itertools import pairwise, product
from pathlib import Path

import pytest

from holdfast.environments.navigation import Navigation
from holdfast.environments.navigation.answer_formats import ANSWER_FORMATS
from holdfast.environments.navigation.geometry import COMPASS, SIDES, TURNS
from holdfast.environments.navigation.instructions import INSTRUCTIONS
from holdfast.environments.navigation.prompts import PARAPHRASES, PROMPT_STYLES
from holdfast.environments.navigation.route import Leg, Route
from holdfast.environments.navigation.rules import RULES, find_rule
from holdfast.errors import UserError

ROUTE = Route(
    "r", "c", (0.0, 0.0), 90,
    (
        Leg(0, 60.0, "Maple Bakery", "left front", (0.0005, 0.0)),
        Leg(315, 60.0, None, None, (0.0009, -0.0004)),
        Leg(45, 60.0, None, None, (0.0013, 0.0)),
    ),
    "Old Owl Inn", "right",
)  # fmt: skip


def asked(rule: str = "absolute", *, step: int = -1, **options: object) -> str:
    environment = Navigation(straight_line_length=2, drop_rate=0, **options)  # type: ignore[arg-type]
    (message,) = environment.prompt(environment.steps(environment.pose(rule, ROUTE, split="test"))[step])
    assert message["role"] == "user"
    return message["content"]


def test_the_terse_prompt_reads_as_documented() -> None:
    assert asked(prompt_style="terse", answer_format="numbered") == (
        "route\n"
        "1. First, turn left to face north.\n"
        "2. Move forward until you reach next intersection where Maple Bakery is on your left front.\n"
        "3. Turn slightly left to face northwest.\n"
        "4. Move forward until you reach next intersection.\n"
        "5. Turn right to face northeast.\n"
        "6. Move forward until you reach destination where The destination Old Owl Inn is on your right.\n"
        "turn north, northeast, east, southeast, south, southwest, west, northwest\n"
        "answer numbered\n"
        "1 start: turn_direction(north)\n"
        "2 road: forward()\n"
        "3 intersection, Maple Bakery is on your left front: turn_direction(northwest)\n"
        "4 road: forward()\n"
        "5 intersection: turn_direction(northeast)\n"
        "6 road: forward()\n"
        "7 destination, Old Owl Inn is on your right:"
    )


def test_the_paper_prompt_has_the_published_structure() -> None:
    text = asked(prompt_style="paper")
    blocks = ["Task", "Instruction", "Action space", "Observations and actions", "Output"]
    assert re.findall(r"^\[([A-Z][a-z ]+)\]$", text, re.MULTILINE) == blocks
    history = text.partition("[Observations and actions]\n")[2].partition("\n[Output]")[0]
    assert history == (
        "O_1: No landmarks nearby; \nA_1: turn_direction(north)\n"
        "O_2: No landmarks nearby; \nA_2: forward()\n"
        "O_3: Maple Bakery is on your left front; You observe an intersection\nA_3: turn_direction(northwest)\n"
        "O_4: No landmarks nearby; \nA_4: forward()\n"
        "O_5: No landmark nearby; You observe an intersection\nA_5: turn_direction(northeast)\n"
        "O_6: No landmarks nearby; \nA_6: forward()\n"
        "O_7: The destination Old Owl Inn is on your right; \nA_7: \n"
    )
    for field in ("current observation", "current instruction", "action"):
        assert f'"{field}": ' in text


def test_the_other_styles_of_instruction_tell_a_turn_by_one_thing_alone() -> None:
    absolute, relative, finer, landmark = (
        asked(rule, prompt_style="terse", instruction=style).split("\n")
        for rule, style in (
            ("absolute", "absolute"), ("relative", "relative"), ("relative_8", "relative"), ("relative_8", "landmark"),
        )
    )  # fmt: skip
    assert absolute[1:6:2] == [
        "1. First, turn to face north.",
        "3. Turn to face northwest.",
        "5. Turn to face northeast.",
    ]
    assert relative[1:6:2] == ["1. First, turn left.", "3. Turn slightly left.", "5. Turn right."]
    assert finer[1:6:2] == ["1. First, turn to your left.", "3. Turn to your left front.", "5. Turn to your right."]
    found = re.fullmatch(r"1\. First, turn toward (the .*)\.", landmark[1])
    assert found is not None
    assert re.search(rf"1 start, .*\b{found[1]} is on your left[,:]", "\n".join(landmark))


@pytest.mark.parametrize("style", PROMPT_STYLES)
@pytest.mark.parametrize("rule", RULES)
def test_every_prompt_names_route_action_space_and_answer_format(style: str, rule: str) -> None:
    for answer_format in ANSWER_FORMATS:
        text = asked(rule, prompt_style=style, answer_format=answer_format)
        assert re.search(rf"\b{answer_format}\b", text)
        assert all(re.search(rf"\b{word}\b", text) for word in find_rule(rule).words)
        assert "6. Move forward until you reach destination where The destination Old Owl Inn is on your right." in text
        assert not re.search(r"\{[a-z_]+\}", text)


@pytest.mark.parametrize("style", PROMPT_STYLES)
def test_questions_of_one_route_begin_alike_up_to_what_is_asked(style: str) -> None:
    texts = [asked(prompt_style=style, step=step) for step in range(7)]
    for before, after in pairwise(texts):
        assert after.startswith(before.partition("\n[Output]")[0].removesuffix("\n"))


def test_only_the_action_space_and_its_words_change_between_two_rules() -> None:
    one, other = (asked(rule, prompt_style="terse") for rule in ("absolute", "relative"))
    strip = re.compile(r"turn_direction\([a-z ]+\)|^turn .*$", re.MULTILINE)
    assert strip.sub("", one) == strip.sub("", other)


def test_the_terse_prompt_adds_few_words_to_instruction_and_history() -> None:
    piece = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]|\n")
    for rule in RULES:
        frame = asked(rule, prompt_style="terse", answer_format="instruction_action").split("\n")
        own = "\n".join([frame[0], *(line for line in frame if line.startswith(("turn ", "answer ")))])
        assert len(piece.findall(own)) <= 60


def test_there_are_ten_paraphrases_and_a_route_keeps_one() -> None:
    environment = Navigation(prompt_style="paraphrase")
    by_style = {style: Navigation(prompt_style=style) for style in PROMPT_STYLES}
    assert len(PARAPHRASES) == 10
    seen = set()
    for index in range(60):
        problem = environment.sample("absolute", "train", index, seed=0)
        first, *_, last = (environment.prompt(step)[0]["content"] for step in environment.steps(problem))
        named = [style for style, own in by_style.items() if own.prompt(problem)[0]["content"] == first]
        assert len(named) == 1
        assert last.startswith(first)
        seen.update(named)
    assert len(seen) == len(PARAPHRASES)


def solved_by_reading(text: str) -> str:
    """Find the action from a terse prompt alone: a second road to the demonstration, by words and not by headings."""
    asked_of, _, answer = text.partition("\nanswer ")
    *head, words_line = asked_of.split("\n")[1:]
    steps = answer.split("\n")[1:]
    words = [word.strip() for word in words_line.removeprefix("turn ").split(",")]
    legs = sum(" intersection" in step for step in steps)
    if steps[-1].split(" ")[1].startswith("road"):
        return "forward()"
    if steps[-1].split(" ")[1].startswith("destination"):
        return "stop()"
    turning = [step for step in steps if re.match(r"\d+ (start|intersection)", step)]
    facing = re.fullmatch(r"You start facing (\w+)\.", head[0])
    told = [line for line in head if re.match(r"\d+\. (First, t|T)urn ", line)]
    before = after = None if facing is None else COMPASS.index(facing[1])
    for line, seen in zip(told[: legs + 1], turning, strict=True):
        before, view = after, None
        if found := re.search(r"to face (\w+)\.", line):
            after = COMPASS.index(found[1])
        elif found := re.search(r"to your ([\w ]+)\.", line):
            view = SIDES.index(found[1])
        elif found := re.search(r"toward (the [\w ]+)\.", line):
            (side,) = re.findall(rf"\b{found[1]} is on your ([\w ]+)", seen)
            view = SIDES.index(side)
        if view is not None:
            after = None if before is None else (before + view) % 8
    stated = re.search(rf"urn ({'|'.join(sorted(TURNS, key=len, reverse=True))})( to face \w+)?\.", told[legs])
    if len(words) == 4:
        if stated is not None:
            return f"turn_direction({stated[1]})"
        if view is None:
            assert before is not None
            assert after is not None
            view = (after - before) % 8
        coarse = ("slightly left", "slightly right", "right", "right", "right", "left", "left", "slightly left")
        return f"turn_direction({coarse[view]})"
    by_name = {COMPASS: False, SIDES: True}
    for names, of_view in by_name.items():
        own = [word.removeprefix(f"{name} ") for word, name in zip(words, names, strict=True)]
        if all(word == name or word.startswith(f"{name} ") for word, name in zip(words, names, strict=True)):
            if of_view and view is None:
                assert before is not None
                assert after is not None
                view = (after - before) % 8
            place = view if of_view else after
            assert place is not None
            return f"turn_direction({own[place]})"
    raise AssertionError(words)


@pytest.mark.parametrize(("rule", "style"), list(product(RULES, INSTRUCTIONS)))
def test_the_right_action_can_be_found_from_the_prompt_alone(rule: str, style: str) -> None:
    environment = Navigation(rules=(rule,), instruction=style, prompt_style="terse", answer_format="action")
    turns = 0
    for index in range(12):
        for step in environment.steps(environment.sample(rule, "train", index, seed=1)):
            right = environment.demonstrate(step)
            turns += right.startswith("turn")
            assert solved_by_reading(environment.prompt(step)[0]["content"]) == right
    assert turns > 30


@pytest.mark.parametrize(("rule", "style"), list(product(RULES, INSTRUCTIONS)))
def test_where_one_faces_at_first_is_told_exactly_where_it_is_needed(rule: str, style: str) -> None:
    says = {"both": "compass coarse", "absolute": "compass", "landmark": "view coarse",
            "relative": "coarse" if rule == "relative" else "view"}  # fmt: skip
    needed = find_rule(rule).frame.value not in says[style].split()
    assert ("You start facing east.\n1. First" in asked(rule, instruction=style)) == needed


def test_a_template_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    text = "\ufeff\r\n [Täsk] {action_space}\t{ no field } {unknown} {}\r\n{instruction}|\x0c{history}\r\n\n "
    path = tmp_path / "template.txt"
    path.write_bytes(text.encode())
    content = asked(template=str(path), step=1)
    history = "O_1: No landmarks nearby; \nA_1: turn_direction(north)\nO_2: No landmarks nearby; \nA_2: \n"
    head, tail = text.split("{history}")
    assert content.endswith(f"|\x0c{history}{tail}")
    assert content.startswith("\ufeff\r\n [Täsk] forward(): ")
    assert "\t{ no field } {unknown} {}\r\n1. First, turn left to face north.\n" in content
    assert head.count("{instruction}") == 1


def test_a_template_may_be_one_file_a_rule(tmp_path: Path) -> None:
    for rule in ("absolute", "relative"):
        (tmp_path / f"{rule}.txt").write_text(f"{rule}! {{instruction}}{{history}}", encoding="utf-8")
    for rule in ("absolute", "relative"):
        assert asked(rule, template=str(tmp_path / "{rule}.txt")).startswith(f"{rule}! 1. First")


def test_an_unusable_template_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.txt"):
        Navigation(template=str(tmp_path / "missing.txt"))
    (tmp_path / "bare.txt").write_text("{instruction}", encoding="utf-8")
    with pytest.raises(UserError, match=r"no field \{history\}"):
        Navigation(template=str(tmp_path / "bare.txt"))
    (tmp_path / "binary.txt").write_bytes(b"{instruction}{history}\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        Navigation(template=str(tmp_path / "binary.txt"))
