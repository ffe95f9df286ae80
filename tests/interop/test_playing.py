"""Our environments as TRL's GRPO plays them: the protocol, and the installed trainer run on scripted answers."""

from __future__ import annotations

import inspect
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.navigation import Navigation
from holdfast.errors import DataError
from holdfast.interop import environment_factory, episode_reward, episodes, questions, reward_function
from holdfast.interop.playing import Play

WORLD = GeneralPoints(prompt_style="terse", answer_format="values_formula")
RULE = "faces_as_10"
EXAMPLE = Path(__file__).parents[2] / "examples" / "trl_grpo_environment.py"


def begun(row: dict[str, Any], environment: Any = WORLD, **options: Any) -> Play:
    play = environment_factory(environment, **options)()
    assert play.reset(**row) is None, "the prompt of the row asks; nothing is added to it"
    return play


def right(play: Play) -> str:
    return play._environment.demonstrate(play.episode.problem)


def reward(*plays: Play, said: str = "") -> list[float]:
    completions = [[{"role": "assistant", "content": said}] for _ in plays]
    return episode_reward([], completions, environments=plays, trainer_state=None, rule=[RULE])


def test_the_tools_are_the_public_methods_but_reset() -> None:
    # How TRL finds them; each needs types and a docstring that says what its arguments are.
    found = [name for name, _ in inspect.getmembers(Play, inspect.isfunction) if not name.startswith("_")]
    assert found == ["answer", "reset"]
    json_schema = pytest.importorskip("transformers.utils").get_json_schema(Play(WORLD).answer)["function"]
    assert json_schema["parameters"]["required"] == ["reply"]
    assert json_schema["parameters"]["properties"]["reply"]["type"] == "string"


def test_a_right_answer_ends_the_problem_with_its_reward() -> None:
    play = begun(episodes(WORLD, RULE, size=3)[2])
    assert play.answer(right(play)) == play.episode.verdicts[0].message
    assert play.episode.done
    assert reward(play) == [WORLD.verify(play.episode.problem, right(play)).reward]
    assert "over" in play.answer("again")
    assert len(play.episode.verdicts) == 1


def test_a_wrong_answer_is_told_why_and_attempts_are_averaged() -> None:
    play = begun(episodes(WORLD, RULE, size=1)[0], attempts=3)
    wrong = WORLD.verify(play.episode.problem, "no idea")
    assert play.answer("no idea") == wrong.message
    assert not play.episode.done
    play.answer(right(play))
    assert play.episode.solved_at == 2
    best = WORLD.verify(play.episode.problem, right(play)).reward
    assert reward(play) == [(wrong.reward + best) / 2]


def test_a_rollout_without_a_tool_is_judged_by_what_it_said() -> None:
    first, second = (begun(row) for row in episodes(WORLD, RULE, size=2))
    assert reward(first, second, said=right(second))[1] > reward(first, second, said=right(second))[0]
    assert not second.episode.verdicts, "judging does not play"
    assert reward(first, said="") == [WORLD.verify(first.episode.problem, "").reward]


def test_a_rollout_begins_anew_with_reset() -> None:
    one, other = episodes(WORLD, RULE, size=2)
    play = begun(one)
    play.answer("x")
    play.reset(**other)
    assert (play.episode.problem.index, play.episode.verdicts) == (1, ())


def test_a_route_is_walked_to_its_end_and_its_single_steps_can_be_asked() -> None:
    city = Navigation(prompt_style="terse", answer_format="action")
    (row,) = episodes(city, "absolute", size=1)
    play = begun(row, city)
    steps = city.steps(play.episode.problem)
    heard = [play.answer(city.demonstrate(step)) for step in steps]
    assert play.episode.done
    assert len(set(heard)) > 2
    assert reward(play) == [1.0]
    single = questions(city, "absolute", size=1)[1]
    play = begun(single, city)
    play.answer(city.demonstrate(steps[1]))
    assert play.episode.done
    assert reward(play) == reward_function(city)(
        [],
        [city.demonstrate(steps[1])],
        **{name: [single[name]] for name in ("rule", "split", "index", "seed", "step")},
    )


def test_a_row_that_names_no_problem_is_refused() -> None:
    with pytest.raises(DataError, match=r"lacks rule, split, index, seed.*interop\.episodes"):
        Play(WORLD).reset(prompt="?")
    with pytest.raises(DataError, match="call reset"):
        Play(WORLD).answer("24")


# --- the installed trainer


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("trl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        patch.chdir(tmp_path_factory.mktemp("grpo"))
        return runpy.run_path(str(EXAMPLE), run_name="__main__")


@pytest.mark.filterwarnings("ignore")  # deprecations between TRL and Transformers are theirs
def test_the_example_trains_in_the_installed_trl(example: dict[str, Any]) -> None:
    told = [line["reward"] for line in example["playing"].state.log_history if "reward" in line]
    nothing = WORLD.verify(WORLD.sample(RULE, "train", 0, seed=0), "").reward
    assert len(told) == 2
    assert all(value == nothing for value in told), "random bytes make no formula"


@pytest.mark.filterwarnings("ignore")
def test_trl_calls_the_tool_and_rewards_what_the_environment_judged(
    example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, tokenizer, rewarded = example["playing"], example["tokenizer"], []

    def call(name: str, reply: str) -> str:
        return f"<tool_call>\n{json.dumps({'name': name, 'arguments': {'reply': reply}})}\n</tool_call>"

    def turns() -> Any:
        while True:
            plays = list(trainer.environments)
            answers = [right(play) for play in plays]
            yield [call("answer", answers[0]), call("answer", "no idea"), answers[2], call("fly", "home")]
            yield ["Done.", call("answer", answers[1]), "no idea"]
            yield ["Done."]

    def generate(prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        texts = next(script)
        assert len(texts) == len(prompt_ids)
        return [tokenizer.encode(text + "<|im_end|>") for text in texts], None

    def judged(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        rewarded.append((columns["environments"], episode_reward(prompts, completions, **columns)))
        return rewarded[-1][1]

    script = turns()
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    monkeypatch.setattr(trainer, "_generate_single_turn", generate)
    monkeypatch.setattr(trainer, "max_completion_length", 2_000)
    monkeypatch.setattr(trainer, "reward_funcs", [judged])
    trainer.train()
    assert len(rewarded) == 2
    for _, rewards in rewarded:
        assert rewards[0] == rewards[2] > rewards[1] > rewards[3]
    plays, _ = rewarded[-1]
    assert [len(play.episode.verdicts) for play in plays] == [1, 2, 0, 0]
    assert trainer.state.log_history[-2]["tools/failure_frequency"] > 0, "the tool that is none"
    assert any((weight != before[name]).any() for name, weight in trainer.model.named_parameters())
