"""Laws of every environment, run over every member of the table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.environments import ENVIRONMENTS
from holdfast.environments.base import SPLITS, Environment, Revision
from holdfast.errors import UserError
from holdfast.members import build, find
from holdfast.records import Outcome

MEMBERS = sorted(ENVIRONMENTS)
HOSTILE = [
    "",
    "None",
    "{" * 5000,
    "[" * 5000,
    "(" * 5000 + "1" + ")" * 5000,
    "9**9**9**9**9",
    "((9**9)**9)**9=24",
    "9" * 100_000,
    "9*" * 50_000 + "9",
    "-" * 100_000,
    '{"formula": 24}',
    '{"formula": null, "number": 1e999}',
    '{"formula": "' + "1+" * 5000 + '1"}',
    '"formula": "' * 2000,
    "١+٢+٣=٢٤",  # Arabic-Indic digits
    "²+³",
    "3×8−0÷1",
    "\ud800\udfff",
    "\x00" * 1000,
    "__import__('os').system('true')",
    "1;2;3 = " * 3000,
    "1=1; " * 3000,
    "A=1 " * 4000,
    " " * 20_000 + "x",
    "values: " + "1 " * 8000,
    "<values>" * 2000,
    "turn_direction(" * 3000,
    "forward)" * 3000 + "stop(",
    '"action": "' * 2000,
    '{"action": {"action": []}}',
    "turn_direction(" + "north " * 3000 + ")",
]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_keeps_the_contract(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    assert isinstance(environment, Environment)
    assert find("environment", name, ENVIRONMENTS).name == name
    assert environment.rules
    hash(environment)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_demonstration_is_correct(name: str, split: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    for rule in environment.rules:
        for index in range(40):
            problem = environment.sample(rule, split, index, seed=5)
            verdict = environment.verify(problem, environment.demonstrate(problem))
            assert verdict.outcome is Outcome.CORRECT, (problem, verdict)
            assert verdict.reward > 0


@pytest.mark.parametrize("name", MEMBERS)
def test_a_problem_depends_on_its_four_numbers_alone(name: str) -> None:
    one, other = (build("environment", name, ENVIRONMENTS) for _ in range(2))
    rule = one.rules[0]
    forward = [one.sample(rule, "train", index, seed=1) for index in range(50)]
    backward = [other.sample(rule, "train", index, seed=1) for index in reversed(range(50))]
    assert forward == backward[::-1]
    assert one.prompt(forward[7]) == other.prompt(forward[7])
    assert forward != [one.sample(rule, "train", index, seed=2) for index in range(50)]
    assert one.sample(rule, "train", 10**9, seed=1).index == 10**9


@pytest.mark.parametrize("name", MEMBERS)
def test_train_validation_and_test_share_no_key(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    keys = {
        split: {
            environment.sample(rule, split, index, seed=seed).key
            for rule in environment.rules
            for index in range(400)
            for seed in (0, 1)
        }
        for split in ("train", "validation", "test")
    }
    assert not keys["train"] & keys["validation"]
    assert not keys["train"] & keys["test"]
    assert not keys["validation"] & keys["test"]


@pytest.mark.parametrize("name", MEMBERS)
def test_recall_and_compose_belong_to_test(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    rule = environment.rules[0]
    keys = {split: {environment.sample(rule, split, index, seed=0).key for index in range(1500)} for split in SPLITS}
    assert keys["recall"]
    assert keys["compose"]
    assert not keys["recall"] & keys["compose"]
    assert not (keys["recall"] | keys["compose"]) & (keys["train"] | keys["validation"])
    assert keys["test"] & keys["recall"]
    assert keys["test"] & keys["compose"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_problem_is_plain_json(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[-1], "test", 3, seed=0)
    again = replace(problem, facts=json.loads(json.dumps(dict(problem.facts))))
    assert again == problem
    assert environment.prompt(again) == environment.prompt(problem)


@pytest.mark.parametrize("name", MEMBERS)
def test_an_unknown_rule_or_split_is_refused(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    with pytest.raises(UserError, match="no_such_rule"):
        environment.sample("no_such_rule", "train", 0, seed=0)
    with pytest.raises(UserError, match=r"trian.*train"):
        environment.sample(environment.rules[0], "trian", 0, seed=0)


@pytest.mark.parametrize("reply", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", MEMBERS)
def test_hostile_text_is_not_correct(name: str, reply: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[-1], "test", 0, seed=0)
    verdict = environment.verify(problem, reply)
    assert verdict.outcome is not Outcome.CORRECT
    assert len(verdict.message) < 1000


@pytest.mark.parametrize("name", MEMBERS)
def test_any_text_gets_a_verdict(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[-1], "test", 0, seed=0)
    right = environment.demonstrate(problem)

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.one_of(
            st.text(max_size=80),
            st.text(alphabet='0123456789+-*/()= {}[]",:;<>', max_size=60),
            st.tuples(st.integers(0, len(right)), st.text(max_size=4)).map(
                lambda cut: right[: cut[0]] + cut[1] + right[cut[0] :]
            ),
        )
    )
    def judged(reply: str) -> None:
        verdict = environment.verify(problem, reply)
        assert isinstance(verdict.outcome, Outcome)
        assert set(verdict.facts.values()) <= {True, False, None}

    judged()


@pytest.mark.parametrize("name", MEMBERS)
def test_an_episode_ends_when_solved_and_feeds_failures_back(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[0], "test", 1, seed=0)
    episode = Revision.start(environment, problem, attempts=3).step("no idea")
    assert [message["role"] for message in episode.messages[-2:]] == ["assistant", "user"]
    assert episode.messages[-1]["content"] == episode.verdicts[0].message
    solved = episode.step(environment.demonstrate(problem))
    assert solved.done
    assert solved.solved_at == 2


@pytest.mark.parametrize("name", MEMBERS)
def test_demonstrations_of_its_steps_solve_a_problem(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    for rule in environment.rules:
        for index in range(6):
            problem = environment.sample(rule, "test", index, seed=3)
            steps = environment.steps(problem)
            assert {step.key for step in steps} == {problem.key}
            assert len(steps) == 1 or environment.multi_step
            episode = environment.begin(problem, attempts=2)
            assert episode.problem == problem
            for step in steps:
                assert not episode.done
                assert environment.steps(step) == (step,)
                assert episode.messages == environment.prompt(step)
                episode = episode.step(environment.demonstrate(step))
            assert episode.done
            assert episode.solved_at == 1
            assert len(episode.verdicts) == len(steps)
            assert episode.counts.get("per_step", (len(steps),) * 2) == (len(steps),) * 2


@pytest.mark.parametrize("name", MEMBERS)
def test_an_episode_is_solved_late_where_one_question_is(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[0], "test", 1, seed=0)
    *before, last = environment.steps(problem)
    episode = environment.begin(problem, attempts=3)
    for step in before:
        episode = episode.step(environment.demonstrate(step))
    episode = episode.step("no idea")
    assert [message["role"] for message in episode.messages[-2:]] == ["assistant", "user"]
    assert episode.messages[-1]["content"] == episode.verdicts[-1].message
    assert episode.solved_at is None
    episode = episode.step(environment.demonstrate(last))
    assert episode.done
    assert episode.solved_at == 2


@pytest.mark.parametrize("name", MEMBERS)
def test_an_episode_that_is_never_right_ends(name: str) -> None:
    environment = build("environment", name, ENVIRONMENTS)
    problem = environment.sample(environment.rules[-1], "test", 0, seed=0)
    many = len(environment.steps(problem))
    for reply in ("no idea", *HOSTILE[:6]):
        episode, said = environment.begin(problem, attempts=2), 0
        while not episode.done:
            assert said < 2 * many + 1
            episode, said = episode.step(reply), said + 1
        assert episode.solved_at is None
        assert all(0 <= hits <= of for hits, of in episode.counts.values())
