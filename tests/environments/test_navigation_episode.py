from __future__ import annotations

from random import Random

import pytest

from holdfast.environments.base import Revision
from holdfast.environments.navigation import Navigation
from holdfast.environments.navigation.episode import RouteEpisode
from holdfast.records import Outcome

WRONG = '{\n  "current observation": "x",\n  "current instruction": "x",\n  "action": "turn_direction(up)",\n}'


def begun(*, attempts: int, rule: str = "relative", index: int = 0, **options: object) -> RouteEpisode:
    environment = Navigation(**options)  # type: ignore[arg-type]
    episode = environment.begin(environment.sample(rule, "test", index, seed=3), attempts=attempts)
    assert isinstance(episode, RouteEpisode)
    return episode


def right(episode: RouteEpisode) -> str:
    return episode.environment.demonstrate(episode.points[episode.point])


def test_right_actions_lead_to_the_end() -> None:
    episode = begun(attempts=1)
    many = len(episode.points)
    for step in episode.points:
        assert not episode.done
        assert episode.messages == episode.environment.prompt(step)
        episode = episode.step(right(episode))
    assert episode.done
    assert episode.solved_at == 1
    assert episode.counts == {
        "per_step": (many, many), "per_step_legacy": (many, many), "progress": (many, many),
        "old_action_space": (0, many),
    }  # fmt: skip


def test_failed_attempts_stay_in_the_talk_of_their_point_and_out_of_the_history() -> None:
    episode = begun(attempts=3).step(WRONG)
    assert [message["role"] for message in episode.messages] == ["user", "assistant", "user"]
    assert episode.messages[1]["content"] == WRONG
    assert episode.messages[2]["content"] == episode.verdicts[0].message
    episode = episode.step(right(episode))
    assert episode.messages == episode.environment.prompt(episode.points[1])
    while not episode.done:
        assert "up" not in episode.messages[0]["content"].split("[Observations")[1]
        episode = episode.step(right(episode))
    assert episode.solved_at == 2


def test_strict_walks_go_on_after_the_last_attempt_without_an_ungraded_call() -> None:
    episode = begun(attempts=2)
    many = len(episode.points)
    episode = episode.step(WRONG).step(WRONG)
    assert not episode.done
    assert episode.point == 1
    assert "A_1: turn_direction(up)" not in episode.messages[0]["content"]
    while not episode.done:
        episode = episode.step(right(episode))
    assert len(episode.verdicts) == many + 1
    assert episode.solved_at is None
    assert episode.counts["per_step"] == (many - 1, many)
    assert episode.counts["progress"] == (0, many)
    assert episode.counts["per_step_legacy"] == (0, 3)


def test_published_walks_end_at_the_first_point_that_fails_twice_after_one_call_more() -> None:
    episode = begun(attempts=2, mode="legacy")
    many = len(episode.points)
    episode = episode.step(right(episode)).step(WRONG).step(WRONG)
    assert not episode.done
    episode = episode.step(right(episode))
    assert episode.done
    assert episode.verdicts[-1].code == "step_limit"
    assert episode.verdicts[-1].reward == -1
    assert episode.verdicts[-1].outcome is Outcome.WRONG
    assert episode.solved_at is None
    assert episode.counts == {"per_step_legacy": (1, 4), "progress": (1, many), "old_action_space": (0, 4)}


def test_both_modes_count_the_same_replies_alike_as_published() -> None:
    rng = Random(0)
    for index in range(30):
        # Without the modulo some sides differ, so routes are asked by the compass.
        strict, legacy = (begun(attempts=2, rule="absolute", index=index, mode=mode) for mode in ("strict", "legacy"))
        while not strict.done:
            reply = right(strict) if rng.random() < 0.8 else WRONG
            if not legacy.done:
                legacy = legacy.step(reply)
            strict = strict.step(reply)
        if not legacy.done:
            legacy = legacy.step(WRONG)
        assert strict.counts["per_step_legacy"] == legacy.counts["per_step_legacy"]
        assert strict.counts["progress"] == legacy.counts["progress"]


def test_words_of_the_trained_space_are_counted_under_another_rule_alone() -> None:
    trained = WRONG.replace("up", "north")
    episode = begun(attempts=1)
    many = len(episode.points)
    while not episode.done:
        episode = episode.step(trained if episode.point < 2 else right(episode))
    assert episode.counts["old_action_space"] == (2, many)
    assert "old_action_space" not in begun(attempts=1, rule="absolute").step(trained).counts


def test_the_hardest_point_says_how_many_attempts_a_route_took() -> None:
    episode = begun(attempts=4)
    for failures in (1, 3, 0, 2):
        for _ in range(failures):
            episode = episode.step(WRONG)
        episode = episode.step(right(episode))
    assert episode.solved_at is None
    while not episode.done:
        episode = episode.step(right(episode))
    assert episode.solved_at == 4


@pytest.mark.parametrize("mode", ["strict", "legacy"])
def test_an_unbegun_walk_counts_nothing_and_a_single_point_is_revised(mode: str) -> None:
    episode = begun(attempts=2, mode=mode)
    assert episode.counts == {}
    assert episode.solved_at is None
    single = episode.environment.begin(episode.points[1], attempts=2)
    assert isinstance(single, Revision)
    assert single.step(right(episode.step(right(episode)))).done
