from __future__ import annotations

import dataclasses
import re
from random import Random

import pytest

from holdfast.environments.general_points import held_out_of_pretraining, rule_map
from holdfast.environments.general_points.environment import GeneralPoints
from holdfast.environments.general_points.mixture import Mixture
from holdfast.errors import UnknownName, UserError
from holdfast.records import Outcome

HELD_OUT = ("faces_as_5_7_9", "faces_as_8")
MIXTURE = Mixture(
    formats={"values_formula": 0.5, "tagged": 0.5},
    styles={"terse": 1.0},
    fixed_rules={"faces_as_11_12_13": 0.1},
    held_out_rules=HELD_OUT,
    highest=9,  # few maps, so that a leak of a held-out one would show within the rows that a test can afford
    retry_every=3,
)


def dealt(count: int) -> list[tuple[str, tuple[int, ...]]]:
    rng = Random(0)
    pairs = [MIXTURE.deal(rng) for _ in range(count)]
    environment = GeneralPoints(rules=("faces_as_10",))
    return [(rule, tuple(environment.pose(rule, hand, split="x").facts["values"])) for rule, hand in pairs]


def test_held_out_maps_never_occur_under_any_name() -> None:
    maps = {rule_map(rule) for rule, _ in dealt(20_000)}
    assert len(maps) > 600  # nearly all of the 729 maps occur, so absence means something
    assert maps.isdisjoint({rule_map(rule) for rule in HELD_OUT})


def test_held_out_values_never_occur_under_any_rule() -> None:
    seen = {tuple(sorted(values)) for _, values in dealt(20_000)}
    assert len(seen) > 300
    assert not any(held_out_of_pretraining(values, 24) for values in seen)


def test_failed_trials_show_no_held_out_values_either() -> None:
    shown = 0
    for number in range(600):
        example = MIXTURE.example(number, step=2, seed=0)
        for trial in (message["content"] for message in example.prompt if message["role"] == "assistant"):
            listed = re.match(r"(?:<values>)?((?:\d+ ){3}\d+)", trial)
            if listed:
                shown += 1
                assert not held_out_of_pretraining([int(word) for word in listed[1].split()], 24)
    assert shown > 300


def test_rows_are_a_pure_function_of_seed_step_and_number() -> None:
    again = dataclasses.replace(MIXTURE)
    assert MIXTURE.example(5, step=7, seed=3) == again.example(5, step=7, seed=3)
    assert MIXTURE.example(5, step=7, seed=3) != MIXTURE.example(5, step=7, seed=4)
    assert MIXTURE.example(5, step=7, seed=3) != MIXTURE.example(6, step=7, seed=3)


def test_every_third_step_holds_failed_trials_and_no_other() -> None:
    lengths = {step: {len(MIXTURE.example(n, step=step, seed=0).prompt) for n in range(20)} for step in range(6)}
    assert lengths == {0: {1}, 1: {1}, 2: {3}, 3: {1}, 4: {1}, 5: {3}}


def test_answers_are_correct_and_trials_are_not() -> None:
    rng = Random(1)
    environment = GeneralPoints(rules=("faces_as_10",), prompt_style="terse", answer_format="tagged")
    for number in range(200):
        rule, hand = MIXTURE.deal(rng)
        problem = environment.pose(rule, hand, split="x", index=number)
        assert environment.verify(problem, environment.demonstrate(problem)).outcome is Outcome.CORRECT
    for number in range(50):
        example = MIXTURE.example(number, step=2, seed=0)
        assert example.prompt[1]["content"] != example.completion
        assert example.prompt[2]["content"].startswith("That answer failed")


def test_a_rule_cannot_be_both_fixed_and_held_out() -> None:
    with pytest.raises(UserError, match="both fixed and held out"):
        Mixture(
            formats={"json": 1},
            styles={"terse": 1},
            fixed_rules={"faces_as_8_8_8": 0.1},
            held_out_rules=("faces_as_8",),
        )


def test_unknown_formats_are_named() -> None:
    with pytest.raises(UnknownName, match="jsom"):
        Mixture(formats={"jsom": 1}, styles={"terse": 1}, fixed_rules={}, held_out_rules=())
